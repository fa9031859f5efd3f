//! "Did you mean …?" for the SQL layer; the search itself is in the catalog's layer, which
//! suggests names of objects.

pub use crate::catalog::suggest::did_you_mean;
