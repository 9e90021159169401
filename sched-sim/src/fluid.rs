//! The ideal schedule (processor sharing): time is divided like a fluid by weight, each vCPU gets at most one CPU.

/// The demand of one vCPU.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Claim {
    pub weight: f64,
    /// The most that it can use, in CPUs.
    pub most: f64,
}

/// Returns the share of each vCPU in CPUs: by weight, and what one cannot use is divided among the others by weight.
#[must_use]
pub fn shares(cpus: f64, claims: &[Claim]) -> Vec<f64> {
    let mut shares: Vec<Option<f64>> = vec![None; claims.len()];
    let mut left = cpus;
    loop {
        let open: Vec<usize> = (0..claims.len()).filter(|index| shares[*index].is_none()).collect();
        let weight: f64 = open.iter().map(|index| claims[*index].weight).sum();
        let each = |index: usize| left * claims[index].weight / weight;
        let full: Vec<usize> = open.iter().copied().filter(|index| each(*index) >= claims[*index].most).collect();
        if full.is_empty() {
            open.iter().for_each(|index| shares[*index] = Some(each(*index)));
            return shares.into_iter().map(|share| share.unwrap_or(0.0)).collect();
        }
        for index in full {
            shares[index] = Some(claims[index].most);
            left = (left - claims[index].most).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cpus: f64, claims: &[(f64, f64)]) -> Vec<f64> {
        shares(cpus, &claims.iter().map(|&(weight, most)| Claim { weight, most }).collect::<Vec<_>>())
    }

    #[test]
    fn time_goes_by_weight_and_what_one_cannot_use_to_the_others() {
        assert_eq!(of(1.0, &[(1.0, 1.0), (3.0, 1.0)]), [0.25, 0.75]);
        assert_eq!(of(2.0, &[(1.0, 1.0), (1.0, 1.0), (6.0, 1.0)]), [0.5, 0.5, 1.0]);
        assert_eq!(of(1.0, &[(1.0, 0.1), (1.0, 1.0)]), [0.1, 0.9]);
        assert_eq!(of(4.0, &[(1.0, 1.0)]), [1.0]);
    }
}
