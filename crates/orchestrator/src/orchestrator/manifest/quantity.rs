//! Quantities as Kubernetes writes them: `5Gi`, `100M`, `1e9`, `1.5Ti`.

/// The number of bytes; `None` for what is no quantity, or not a whole number of bytes that fits.
pub(super) fn bytes(text: &str) -> Option<i64> {
    let digits = text.find(|one: char| !(one.is_ascii_digit() || matches!(one, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let factor = factor(suffix)?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let product = digits.checked_mul(factor)?;
    // Upstream rounds up to a whole byte.
    let rounded = product.checked_add(divisor - 1)?.div_euclid(divisor);
    i64::try_from(rounded).ok()
}

fn factor(suffix: &str) -> Option<i128> {
    let binary = |power: u32| 1024_i128.pow(power);
    let decimal = |power: u32| 1000_i128.pow(power);
    Some(match suffix {
        "" => 1,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(power.min(18))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        assert_eq!(bytes("5Gi"), Some(5 << 30));
        assert_eq!(bytes("100M"), Some(100_000_000));
        assert_eq!(bytes("1.5Ki"), Some(1536));
        assert_eq!(bytes("0.5"), Some(1), "rounded up");
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(bytes("42"), Some(42));
        for wrong in ["", "Gi", "5GiB", "five", "1..2", "9999999999Ei"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
