//! The process that reads a disk: it opens the image, gives up all else, reads, and writes what it has found to a pipe.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use machine_model::image::ImageHeader;
use serde::{Deserialize, Serialize};
use virtio::config::DiskConfig;
use virtio::storage::open::open;

use crate::area::Area;
use crate::find::{Found, find};
use crate::printable;
use crate::unpack::{MAX_FILE, unpack};

/// How long the image may be in use by someone else: a backend lets go of it only some time after its guest's end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that the process may have besides twice what it hands over: itself, and what unpacking and ext4's tables take.
const MEMORY: u64 = 512 << 20;
/// Seconds of a CPU that it may take.
const SECONDS: u64 = 120;
/// The longest answer before the files.
const MOST_ANSWER: u64 = 64 << 10;
/// The longest command line that Linux takes on arm64 (`COMMAND_LINE_SIZE`, with its end).
const MOST_OPTIONS: usize = 2047;
/// Ramdisks that stand one behind the other begin at a multiple of this, as GRUB has it.
const ALIGNMENT: u64 = 4;

/// What is to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The disk; nothing of it is written.
    pub disk: DiskConfig,
    /// The entry that is to be started. None: as the boot loader would.
    pub entry: Option<String>,
    /// The most bytes that kernel and ramdisk may have, each: no more than the guest has.
    pub limit: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel, unpacked.
    pub kernel: Vec<u8>,
    /// Its header.
    pub header: ImageHeader,
    /// The ramdisk.
    pub ramdisk: Option<Vec<u8>>,
    /// The command line that the boot loader would give.
    pub options: String,
    /// What is started, and what said so, for people.
    pub source: String,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Found { kernel: u64, ramdisk: Option<u64>, options: String, source: String },
    Failed(String),
}

/// Reads a disk in a process of its own, which `command` starts: one that calls [`serve`].
///
/// # Errors
///
/// What is wrong with the disk, or that the process has ended.
pub fn read(mut command: Command, order: &Order) -> Result<BootFiles> {
    let image = &order.disk.image;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a process")?;
    let mut input = child.stdin.take().context("no way to the process")?;
    let output = child.stdout.take().context("no way from the process")?;
    // It may have ended already, which its answer tells.
    let _ = input.write_all(&serde_json::to_vec(order)?);
    drop(input);
    let result = receive(output, order.limit.min(MAX_FILE));
    // Whatever it has not said nobody waits for.
    let _ = child.kill();
    let status = child.wait().context("the process that reads it is lost")?;
    match result {
        Ok(Ok(files)) => Ok(files),
        Ok(Err(why)) => Err(anyhow!(why).context(image.clone())),
        Err(error) => Err(error
            .context(format!("the process that reads it has ended ({status}): the image is damaged"))
            .context(image.clone())),
    }
}

/// Reads an answer. The inner error is what the process says.
fn receive(output: impl Read, limit: u64) -> Result<Result<BootFiles, String>> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    (&mut output).take(MOST_ANSWER).read_until(b'\n', &mut line)?;
    let (kernel, ramdisk, options, source) =
        match serde_json::from_slice(&line).context("it has not answered")? {
            Answer::Found { kernel, ramdisk, options, source } => (kernel, ramdisk, options, source),
            Answer::Failed(why) => {
                return Ok(Err(why.chars().map(|char| if char.is_control() { '?' } else { char }).collect()));
            }
        };
    // From here on the process may have been taken over by what it has read.
    if options.len() > MOST_OPTIONS || options.contains(|char: char| char.is_control()) {
        return Ok(Err("its command line is too long, or has control characters".into()));
    }
    let mut bytes = |size: u64| -> Result<Vec<u8>> {
        if size > limit {
            bail!("{size} bytes are more than the {limit} that there is room for");
        }
        let mut bytes = Vec::new();
        (&mut output).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            bail!("{} of {size} bytes have come", bytes.len());
        }
        Ok(bytes)
    };
    let kernel = bytes(kernel)?;
    let ramdisk = ramdisk.map(bytes).transpose()?;
    let header = match ImageHeader::read(&kernel) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(Ok(BootFiles { kernel, header, ramdisk, options, source: printable(&source) }))
}

/// What the process does: takes an order from standard input, and answers to standard output.
///
/// # Errors
///
/// Nobody listens.
pub fn serve() -> Result<()> {
    if let Err(error) = prepare().and_then(|(disk, order)| answer(&disk, &order)) {
        send(&Answer::Failed(format!("{error:#}")))?;
    }
    Ok(())
}

/// Opens the image and gives up all else.
fn prepare() -> Result<(Area, Order)> {
    let mut text = String::new();
    std::io::stdin().take(MOST_ANSWER).read_to_string(&mut text).context("no order")?;
    let mut order: Order = serde_json::from_str(&text).context("an order that makes no sense")?;
    order.disk.read_only = true;
    let opened = open(&order.disk, PATIENCE).map_err(without_path)?;
    let memory = order.limit.min(MAX_FILE).saturating_mul(2).saturating_add(MEMORY);
    xenolith_confine::limit(memory, SECONDS)?;
    xenolith_confine::give_up_root()?;
    xenolith_confine::leave_file_system()?;
    // What the image is asked for as a file takes calls that reading it does not.
    let reader = opened.reader().map_err(without_path)?;
    xenolith_confine::filter_system_calls(&[])?;
    // Only now is anything looked at of what the guest has written.
    Ok((Area::whole(reader), order))
}

/// The error without the image's path, which who reads it puts before.
fn without_path(error: virtio::storage::open::OpenError) -> anyhow::Error {
    let text = error.to_string();
    anyhow!(text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned()))
}

fn answer(disk: &Area, order: &Order) -> Result<()> {
    let limit = order.limit.min(MAX_FILE);
    let found = find(disk, order.entry.as_deref())?;
    if found.options().len() > MOST_OPTIONS {
        bail!("{}: its command line has more than {MOST_OPTIONS} bytes", found.source);
    }
    let kernel = kernel(&found, limit)?;
    let mut ramdisks = found.ramdisks(limit)?;
    let sizes = ramdisks.iter().map(|part| part.file.size.next_multiple_of(ALIGNMENT));
    let ramdisk = (!ramdisks.is_empty()).then(|| sizes.sum()).filter(|&size: &u64| size != 0);
    let names: Vec<&str> = ramdisks.iter().map(|part| part.path.as_str()).collect();
    let files = [&[kernel.0.as_str()], names.as_slice()].concat().join(", ");
    send(&Answer::Found {
        kernel: kernel.1.len() as u64,
        ramdisk,
        options: found.options().to_owned(),
        source: format!("{}: {files}", found.source),
    })?;
    let mut output = std::io::stdout().lock();
    output.write_all(&kernel.1)?;
    drop(kernel);
    for part in &mut ramdisks {
        let size = part.file.size;
        part.file.copy(&mut |piece| Ok(output.write_all(piece)?)).with_context(|| part.path.clone())?;
        let padding = size.next_multiple_of(ALIGNMENT).saturating_sub(size);
        output.write_all([0; 4].get(..usize::try_from(padding)?).unwrap_or_default())?;
    }
    Ok(output.flush()?)
}

/// The kernel's path and the plain kernel.
fn kernel(found: &Found, limit: u64) -> Result<(String, Vec<u8>)> {
    let mut part = found.kernel(limit)?;
    let mut packed = Vec::new();
    let copied = part.file.copy(&mut |piece| {
        packed.extend_from_slice(piece);
        Ok(())
    });
    copied.with_context(|| part.path.clone())?;
    let (kernel, _) = unpack(packed, limit).with_context(|| format!("kernel {}", part.path))?;
    Ok((part.path, kernel))
}

fn send(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}
