//! Sizes as people write them.

/// Bytes of a size such as `512M`, `1G`, `256MiB` or `65536K`. Units are powers of 1024.
///
/// # Errors
///
/// What a size must look like, as a sentence without subject.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    const HELP: &str = "must be a number with a unit, as \"256M\" or \"1G\"";
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or(HELP)?;
    let (number, unit) = text.split_at_checked(digits).ok_or(HELP)?;
    let shift = match unit.trim_start() {
        "K" | "KB" | "KiB" => 10,
        "M" | "MB" | "MiB" => 20,
        "G" | "GB" | "GiB" => 30,
        _ => return Err(HELP),
    };
    if number.is_empty() {
        return Err(HELP);
    }
    let number: u64 = number.parse().map_err(|_| "is too large")?;
    number.checked_mul(1 << shift).ok_or("is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("4K"), Ok(4096));
        for bad in ["", "256", "M", "1T", "-1M", "1.5G", "1MM"] {
            assert_eq!(parse_size(bad), Err("must be a number with a unit, as \"256M\" or \"1G\""), "{bad}");
        }
        assert_eq!(parse_size("99999999999999999999G"), Err("is too large"));
        assert_eq!(parse_size("99999999999G"), Err("is too large"));
    }
}
