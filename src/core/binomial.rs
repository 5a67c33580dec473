//! How improbable a count is.

/// P(X >= k) of a binomial distribution with `n` trials and probability `p`: the chance that at least `k` of `n` boots
/// fail although each fails with probability `p` only.
///
/// The first term in logarithms, so that large `n` does not underflow; from there each term from its neighbour, until
/// they no longer matter. The shorter of the two tails is summed.
#[must_use]
pub fn tail(k: u32, n: u32, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    let odds = p / (1.0 - p);
    // term(i + 1) / term(i)
    let ratio = |i: u32| f64::from(n - i) / f64::from(i + 1) * odds;
    let upper = f64::from(k) > f64::from(n) * p;
    let start = if upper { k } else { k - 1 };
    let mut term =
        (ln_choose(n, start) + f64::from(start) * p.ln() + f64::from(n - start) * (-p).ln_1p())
            .exp();
    let mut sum = 0.0;
    let mut i = start;
    loop {
        sum += term;
        if term <= sum * 1e-17 {
            break;
        }
        if upper && i < n {
            term *= ratio(i);
            i += 1;
        } else if !upper && i > 0 {
            i -= 1;
            term /= ratio(i);
        } else {
            break;
        }
    }
    if upper {
        sum.min(1.0)
    } else {
        (1.0 - sum).clamp(0.0, 1.0)
    }
}

/// The logarithm of the number of ways to choose `k` of `n`. A logarithm costs twenty times what a factor does, so that
/// one is taken only where their product is about to leave what a float can hold.
fn ln_choose(n: u32, k: u32) -> f64 {
    let (mut ln, mut product) = (0.0, 1.0_f64);
    for i in 0..k {
        product *= f64::from(n - i) / f64::from(i + 1);
        if !(1e-200..1e200).contains(&product) {
            ln += product.ln();
            product = 1.0;
        }
    }
    ln + product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_counted_however_many_they_are() {
        assert!((ln_choose(60, 6) - 50_063_860_f64.ln()).abs() < 1e-12);
        assert!(ln_choose(9, 0).abs() < 1e-12 && ln_choose(9, 9).abs() < 1e-12);
        // All of them are 2^n.
        let n = 1_200;
        let most = ln_choose(n, n / 2);
        let all: f64 = (0..=n).map(|k| (ln_choose(n, k) - most).exp()).sum();
        let expected = f64::from(n) * std::f64::consts::LN_2;
        assert!((all.ln() + most - expected).abs() < 1e-9);
    }

    #[test]
    fn the_smallest_improbable_counts_are_those_of_the_table() {
        let least = |n: u32, p: f64| (3..=n).find(|k| tail(*k, n, p) <= 0.001);
        for (n, k) in [
            (3, 3),
            (5, 4),
            (8, 4),
            (10, 5),
            (20, 6),
            (30, 7),
            (50, 9),
            (100, 14),
        ] {
            assert_eq!(least(n, 0.05), Some(k), "{n}");
        }
        for (n, k) in [(3, 3), (10, 3), (20, 4), (50, 5), (100, 6)] {
            assert_eq!(least(n, 0.01), Some(k), "{n}");
        }
    }

    #[test]
    fn edges_and_exact_values() {
        assert!((tail(1, 2, 0.5) - 0.75).abs() < 1e-12);
        assert!((tail(3, 3, 0.05) - 0.000_125).abs() < 1e-12);
        assert!((tail(0, 0, 0.05) - 1.0).abs() < 1e-12);
        assert!(tail(4, 3, 0.05) == 0.0);
        assert!(tail(9_000, 10_000, 0.05) < 1e-300);
        assert!(tail(1, 100_000, 0.05) > 0.999_999);
    }
}
