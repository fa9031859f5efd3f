//! Columns on disk: name, `pg_type.oid`, type modifier, nullability and field metadata.
//!
//! The Arrow carrier follows from the SQL type, so it is not written.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::Field;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::types::PgType;

#[derive(Serialize, Deserialize)]
struct Column {
    name: String,
    type_oid: u32,
    typmod: i32,
    nullable: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

pub(super) fn serialize<S: Serializer>(fields: &[Field], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(fields.iter().map(|field| {
        let data_type = PgType::of(field);
        Column {
            name: field.name().clone(),
            type_oid: data_type.oid(),
            typmod: data_type.typmod(),
            nullable: field.is_nullable(),
            metadata: field.metadata().clone().into_iter().collect(),
        }
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Field>, D::Error> {
    Vec::<Column>::deserialize(deserializer)?
        .into_iter()
        .map(|column| {
            let data_type = PgType::from_oid(column.type_oid)
                .ok_or_else(|| D::Error::custom(format!("unknown type oid {}", column.type_oid)))?;
            let data_type = with_typmod(data_type, column.typmod);
            let metadata: HashMap<String, String> = column.metadata.into_iter().collect();
            Ok(data_type.field(&column.name, column.nullable).with_metadata(metadata))
        })
        .collect()
}

fn with_typmod(data_type: PgType, typmod: i32) -> PgType {
    match data_type {
        PgType::Numeric(_) if typmod >= 4 => {
            let modifier = typmod - 4;
            let scale = ((modifier & 0x7ff) ^ 0x400) - 0x400;
            PgType::Numeric(Some(((modifier >> 16) as u8, scale as i8)))
        }
        PgType::Varchar(_) if typmod >= 4 => PgType::Varchar(Some((typmod - 4) as u32)),
        PgType::Bpchar(_) if typmod >= 4 => PgType::Bpchar(Some((typmod - 4) as u32)),
        other => other,
    }
}
