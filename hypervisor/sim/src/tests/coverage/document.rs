//! `docs/abi-coverage.md`.

use std::fmt::Write;

use super::Row;
use super::remarks::Kind;

const HEAD: &str = "# What is answered to each call of Xen's headers

This page is written by a test (`tests::coverage` in `hypervisor/sim/`), which makes every call that Xen's public
headers of 4.17 and 4.20 name, and fails while the page differs from what was answered. `RENEW_DOCUMENTS=1 cargo test -p
xenolith-sim coverage` writes it anew. Another test (`headers` in `system-tests/`) compares the names and numbers with Debian's
headers. What the calls that work do is in [abi.md](abi.md).

Each call is made with zeroes for arguments, but for those that would end the caller; what is asked about is a domain that
was just made. *Control* is the answer to the control domain, *others* that to any other domain that asks about the control
domain. `ok` is any result that is no error. The answers are those of a Xen 4.17 on Arm, which was asked the same by the same
program, unless there is an *X*, which gives Xen's. With `xen_version=4.20` the answer after *4.20* holds.

| State | |
|---|---|
| works | it is there; an error is about the zeroes |
| refused | Xen on Arm refuses it in the same way |
| left out | refused as by a Xen without the option that is named |
| missing | refused, and every Xen on Arm has it |
| 4.20 | the headers of 4.17 do not have it |
";

pub fn render(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    let mut family = "";
    let mut ordered: Vec<&Row> = rows.iter().collect();
    ordered.sort_by_key(|row| (row.probe.number, row.probe.family, row.probe.sub.number));
    for row in ordered {
        if row.probe.family != family {
            family = row.probe.family;
            let number = row.probe.number;
            let title = if number == 0 { family.to_owned() } else { format!("`{family}` ({number})") };
            let _ = write!(
                text,
                "\n## {title}\n\n`public/{}`\n\n| Nr | Name | State | Control | Others | |\n|---|---|---|---|---|---|\n",
                row.probe.header
            );
        }
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn line(row: &Row) -> String {
    let sub = &row.probe.sub;
    let cell = |ours: &[String; 2], xen: &str| {
        let mut cell = if sub.in_4_17 { ours[0].clone() } else { ours[1].clone() };
        if sub.in_4_17 && ours[0] != ours[1] {
            let _ = write!(cell, ", *4.20* {}", ours[1]);
        }
        if sub.in_4_17 && ours[0] != xen {
            let _ = write!(cell, " (*X* {xen})");
        }
        cell
    };
    let [xen_control, xen_guest] = &row.xen;
    let why = row.remark.map_or("", |remark| remark.why);
    format!(
        "| {} | `{}` | {}{} | {} | {} | {why} |",
        sub.number,
        sub.name,
        state(row),
        if sub.in_4_17 { "" } else { ", 4.20" },
        cell(&row.control, xen_control),
        cell(&row.guest, xen_guest),
    )
}

fn state(row: &Row) -> &'static str {
    match row.remark.map(|remark| remark.kind) {
        Some(Kind::LeftOut) => "left out",
        Some(Kind::Missing) => "missing",
        Some(Kind::Note) => "works",
        _ if row.is_refused() => "refused",
        _ => "works",
    }
}
