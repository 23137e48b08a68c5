//! `--sweep`: the same measurement for payloads of many sizes.

use super::plan::Plan;

/// From 100 B to 8 MB, about four times as much each; two of them the sizes that others are measured by.
const SIZES: [u64; 9] = [100, 400, 1_600, 6_400, 25_600, 160_000, 500_000, 1_600_000, 8_000_000];

/// A plan a size.
pub(super) fn plans(plan: &Plan) -> Vec<Plan> {
    SIZES.iter().map(|&bytes| plan.with_bytes(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn a_sweep_goes_from_100_bytes_to_8_megabytes() {
        let sizes =
            |line: &str| plans(&plan(line).unwrap()).iter().map(|plan| plan.message.bytes()).collect::<Vec<_>>();

        assert_eq!(sizes("--content raw"), SIZES);
        assert_eq!(sizes("--sweep")[..2], [96, 400], "whole rows");
    }
}
