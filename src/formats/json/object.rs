//! Fields of one kind of object (the record itself, or a struct column) into columns.
//!
//! In: a scanner that stands at `{`. Out: one row in every column. Fields are found by
//! position first: the names of the last object are remembered in order, and the next name
//! is compared with the bytes of the remembered one, so a stream of equal layout costs one
//! comparison a field, wanted or not. Otherwise names are looked up: exact spelling first,
//! then without regard to case (an exact name beats an inexact one whatever their order).
//! Of duplicate fields the last wins, errors included. Invariant: `push` adds one row to
//! all columns or, when it fails, none.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use hashbrown::HashMap;

use super::column::Column;
use super::scan::{DEPTH_MAX, Scanner, Token, too_deep, unescape};
use crate::error::HwError;

/// Field names remembered by position; fields beyond are looked up.
const LAYOUT_FIELDS_MAX: usize = 512;
/// Longest name that is remembered, in bytes.
const LAYOUT_NAME_MAX: usize = 128;

/// What to do with a field.
#[derive(Clone, Copy)]
struct Target {
    /// Index of the column, or `None` to skip the field.
    column: Option<usize>,
    exact: bool,
}

const SKIP: Target = Target { column: None, exact: false };

/// A field name at one position of the last object; it needs no escapes.
struct Remembered {
    name: Vec<u8>,
    target: Target,
}

/// Where the value of a column in the present object came from.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    No,
    Inexact,
    Exact,
}

/// Builders of all wanted fields of an object.
pub struct ObjectBuilder {
    fields: Fields,
    columns: Vec<Column>,
    /// Columns whose values are checked and not kept; their targets come after `columns`.
    checked: Vec<Column>,
    by_name: HashMap<String, usize>,
    by_lower_name: HashMap<String, usize>,
    layout: Vec<Remembered>,
    seen: Vec<Seen>,
    rows: usize,
    name_scratch: Vec<u8>,
}

impl ObjectBuilder {
    pub fn new(fields: &Fields, checked: &Fields) -> Result<Self, HwError> {
        let columns = fields.iter().map(Column::new).collect::<Result<Vec<_>, _>>()?;
        let checked_columns = checked.iter().map(Column::new).collect::<Result<Vec<_>, _>>()?;
        let mut by_name = HashMap::new();
        let mut by_lower_name = HashMap::new();
        for (i, field) in fields.iter().chain(checked).enumerate() {
            by_name.entry(field.name().clone()).or_insert(i);
            by_lower_name.entry(field.name().to_lowercase()).or_insert(i);
        }
        Ok(ObjectBuilder {
            fields: fields.clone(),
            seen: vec![Seen::No; columns.len() + checked_columns.len()],
            columns,
            checked: checked_columns,
            by_name,
            by_lower_name,
            layout: Vec::new(),
            rows: 0,
            name_scratch: Vec::new(),
        })
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// Adds one row from the object at which `scanner` stands, inside `depth` containers.
    pub fn push(&mut self, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), HwError> {
        let pushed = self.read_fields(scanner, depth).and_then(|()| self.fill_missing());
        match pushed {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(e) => {
                self.truncate(self.rows);
                Err(e)
            }
        }
    }

    fn read_fields(&mut self, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), HwError> {
        if depth >= DEPTH_MAX {
            return Err(too_deep(DEPTH_MAX));
        }
        self.seen.fill(Seen::No);
        scanner.expect(b'{', "'{'")?;
        if scanner.take(b'}') {
            return Ok(());
        }
        // Conversion errors wait for the end: a later duplicate may replace the value, and
        // malformed JSON is the graver error.
        let mut failed: Vec<(usize, HwError)> = Vec::new();
        let mut position = 0;
        loop {
            let target = self.target(scanner, position)?;
            scanner.expect(b':', "':'")?;
            let token = scanner.value(depth + 1)?;
            if let Some(column) = target.column {
                self.store(column, target.exact, token, depth + 1, &mut failed);
            }
            position += 1;
            if !scanner.take(b',') {
                break;
            }
        }
        scanner.expect(b'}', "',' or '}'")?;
        match failed.into_iter().next() {
            None => Ok(()),
            Some((column, e)) => Err(self.in_field(column, e)),
        }
    }

    #[inline(always)]
    fn store(
        &mut self,
        column: usize,
        exact: bool,
        token: Token<'_>,
        depth: u32,
        failed: &mut Vec<(usize, HwError)>,
    ) {
        let seen = &mut self.seen[column];
        if *seen != Seen::No {
            if *seen == Seen::Exact && !exact {
                return;
            }
            if let Some(kept) = self.columns.get_mut(column) {
                kept.truncate(self.rows);
            }
            failed.retain(|(c, _)| *c != column);
        }
        *seen = if exact { Seen::Exact } else { Seen::Inexact };
        let Some(kept) = self.columns.get_mut(column) else {
            let checked = &mut self.checked[column - self.columns.len()];
            return failed.extend(checked.check(token, depth).err().map(|e| (column, e)));
        };
        if let Err(e) = kept.push(token, depth) {
            kept.truncate(self.rows);
            kept.push_placeholder();
            failed.push((column, e));
        }
    }

    /// Takes a field name and tells what to do with its value.
    #[inline(always)]
    fn target(&mut self, scanner: &mut Scanner<'_>, position: usize) -> Result<Target, HwError> {
        scanner.expect(b'"', "a field name")?;
        if let Some(remembered) = self.layout.get(position)
            && scanner.take_name(&remembered.name)
        {
            return Ok(remembered.target);
        }
        self.find_target(scanner, position)
    }

    fn find_target(&mut self, scanner: &mut Scanner<'_>, position: usize) -> Result<Target, HwError> {
        let raw = scanner.text()?;
        let mut scratch = std::mem::take(&mut self.name_scratch);
        scratch.clear();
        let name = if raw.escaped {
            // A name that is no text is no column's name.
            match unescape(raw.bytes, &mut scratch) {
                Ok(()) => Some(scratch.as_slice()),
                Err(_) => None,
            }
        } else {
            Some(raw.bytes)
        };
        let target = name.and_then(|n| std::str::from_utf8(n).ok()).map_or(SKIP, |n| self.look_up(n));
        self.name_scratch = scratch;
        if !raw.escaped && raw.bytes.len() <= LAYOUT_NAME_MAX {
            self.remember(position, raw.bytes, target);
        }
        Ok(target)
    }

    fn look_up(&self, name: &str) -> Target {
        if let Some(column) = self.by_name.get(name) {
            return Target { column: Some(*column), exact: true };
        }
        match self.by_lower_name.get(&name.to_lowercase()) {
            Some(column) => Target { column: Some(*column), exact: false },
            None => SKIP,
        }
    }

    fn remember(&mut self, position: usize, name: &[u8], target: Target) {
        if let Some(slot) = self.layout.get_mut(position) {
            slot.name.clear();
            slot.name.extend_from_slice(name);
            slot.target = target;
        } else if position == self.layout.len() && position < LAYOUT_FIELDS_MAX {
            self.layout.push(Remembered { name: name.to_vec(), target });
        }
    }

    #[inline(always)]
    fn fill_missing(&mut self) -> Result<(), HwError> {
        for i in 0..self.columns.len() {
            if self.seen[i] == Seen::No
                && let Err(e) = self.columns[i].push_null()
            {
                return Err(self.in_field(i, e));
            }
        }
        Ok(())
    }

    #[cold]
    fn in_field(&self, column: usize, e: HwError) -> HwError {
        let name = self.columns.iter().chain(&self.checked).nth(column).map_or("", Column::name);
        let place = format!("Field \"{name}\".");
        let detail = match e.detail() {
            Some(inner) => format!("{place} {inner}"),
            None => place,
        };
        e.with_detail(detail)
    }

    /// Adds a row of nulls below a null struct.
    pub fn push_placeholder(&mut self) {
        self.columns.iter_mut().for_each(Column::push_placeholder);
        self.rows += 1;
    }

    /// Drops everything beyond the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
        self.rows = rows;
    }

    /// Takes the rows of all columns.
    pub fn finish(&mut self) -> Result<(Fields, Vec<ArrayRef>), HwError> {
        self.rows = 0;
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
        Ok((self.fields.clone(), columns))
    }
}
