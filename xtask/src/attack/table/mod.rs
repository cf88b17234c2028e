//! The table of attacks: what proxies were brought to do by others, and its neighbours.

mod answers;
mod floods;
mod frames;
mod framing;
mod headers;
mod identity;
mod paths;

use super::row::Attack;

/// Every row, in the order of the groups.
pub(super) fn all() -> Vec<Attack> {
    let mut rows = [
        paths::rows(),
        headers::rows(),
        framing::rows(),
        frames::rows(),
        answers::rows(),
        floods::rows(),
        identity::rows(),
    ]
    .concat();
    rows.sort_by_key(|row| row.group);
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::attack::setup;

    #[test]
    fn names_are_of_one_row_and_listeners_are_there() {
        let rows = all();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
        for row in &rows {
            assert!(setup::index(row.listener).is_some(), "{}: {}", row.name, row.listener);
        }
        let groups: BTreeSet<char> = rows.iter().map(|row| row.group.letter()).collect();
        assert_eq!(groups.into_iter().collect::<String>(), "ABCDE");
    }
}
