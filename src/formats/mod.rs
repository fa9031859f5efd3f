//! Bytes to columns: each format decodes records straight into Arrow builders, only for the
//! columns that are wanted.
