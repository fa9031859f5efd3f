//! "Did you mean …?": the nearest of a few names to a misspelt one.
//!
//! Nearness is the optimal string alignment distance (insert, delete, replace, swap of
//! neighbours), without regard to case. A candidate counts as near up to one edit per three
//! characters, at least one. Ties go to the candidate that comes first.

/// Longest name that is compared; longer ones get no suggestion.
const LENGTH_MAX: usize = 64;

/// The candidate nearest to `wanted`, if one is near enough to have been meant.
/// A candidate equal to `wanted` is no suggestion.
pub fn did_you_mean<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > LENGTH_MAX {
        return None;
    }
    let limit = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let folded: Vec<char> = candidate.to_lowercase().chars().collect();
        if folded.len() > LENGTH_MAX || folded.len().abs_diff(wanted.len()) > limit {
            continue;
        }
        let distance = edit_distance(&wanted, &folded);
        if distance > 0 && distance <= limit && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_string())
}

fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn finds_the_nearest_name() {
        let names = ["SELECT", "SET", "DELETE", "SUBSCRIBE"];
        let near = |w: &str| did_you_mean(w, names.iter().copied());
        assert_eq!(near("selec").as_deref(), Some("SELECT"));
        assert_eq!(near("SLEECT").as_deref(), Some("SELECT"));
        assert_eq!(near("subscirbe").as_deref(), Some("SUBSCRIBE"));
        assert_eq!(near("SELECT"), None);
        assert_eq!(near("frobnicate"), None);
        assert_eq!(near(""), None);
    }
}
