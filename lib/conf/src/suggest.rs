//! The name that somebody probably meant.

/// Says in a few words what may be written instead of a name that nothing has: the nearest one, or
/// all there are.
///
/// ```
/// assert_eq!(weir_conf::instead("wbe", &["web", "dns"]), "did you mean `web`?");
/// assert_eq!(weir_conf::instead("mail", &["web", "dns"]), "there are web and dns");
/// assert_eq!(weir_conf::instead("mail", &["web"]), "the only one is web");
/// ```
#[must_use]
pub fn instead(name: &str, candidates: &[&str]) -> String {
    const MOST: usize = 5;
    if let Some(near) = nearest(name, candidates.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    match candidates {
        [] => "there is none at all".to_owned(),
        [one] => format!("the only one is {one}"),
        [first @ .., last] if candidates.len() <= MOST => {
            format!("there are {} and {last}", first.join(", "))
        }
        _ => {
            let first: Vec<&str> = candidates.iter().copied().take(MOST).collect();
            let others = candidates.len() - MOST;
            format!("there are {} and {others} more", first.join(", "))
        }
    }
}

/// Returns the candidate nearest to `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let most = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the number of insertions, deletions, replacements and swaps of neighbours that make one
/// name from the other; upper and lower case are the same.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(x != y);
            let mut best = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let keys = ["scheduler", "synproxy", "sorry", "real", "idle"];
        assert_eq!(nearest("schedular", keys), Some("scheduler"));
        assert_eq!(nearest("relas", keys), None);
        assert_eq!(nearest("reals", keys), Some("real"));
        assert_eq!(nearest("idel", keys), Some("idle"));
        assert_eq!(nearest("Idle", keys), Some("idle"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }
}
