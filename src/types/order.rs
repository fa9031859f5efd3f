//! How rows are ordered and numbered: the words of ORDER BY and of ranking functions.

/// One expression of an ORDER BY, as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// What a row's number within its partition means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// 1, 2, 3, … without ties.
    RowNumber,
    /// Peers share the number of rows before them plus one.
    Rank,
    /// Peers share the number of different keys before them plus one.
    DenseRank,
}

impl Ranking {
    pub fn function(self) -> &'static str {
        match self {
            Ranking::RowNumber => "row_number",
            Ranking::Rank => "rank",
            Ranking::DenseRank => "dense_rank",
        }
    }

    /// The ranking that a window function computes.
    pub fn of_function(name: &str) -> Option<Ranking> {
        [Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank].into_iter().find(|r| r.function() == name)
    }
}

/// The numbers that are kept, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankRange {
    pub first: u64,
    /// No last one: `OFFSET` alone.
    pub last: Option<u64>,
}
