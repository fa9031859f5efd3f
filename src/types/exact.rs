//! The arithmetic of aggregates: sums and moments that do not depend on order.
//!
//! Adding and removing the same values leaves nothing behind, so ad-hoc queries, views and
//! any number of workers agree to the last digit. [`float`] sums doubles exactly, [`total`]
//! adds NaN and the infinities, [`moments`] holds sums of squares and products, and
//! [`quotient`] divides as PostgreSQL's numeric does, [`sketch`] counts values by bucket.

pub mod float;
pub mod moments;
pub mod quotient;
pub mod sketch;
pub mod total;
