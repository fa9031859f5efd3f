//! The catalog through its public face: names, dependencies, rendering, persistence.

use std::collections::BTreeMap;

use super::*;
use crate::types::PgType;

fn path() -> Vec<String> {
    vec!["public".to_string()]
}

fn name(text: &str) -> QualifiedName {
    match text.split_once('.') {
        Some((schema, name)) => QualifiedName::new(Some(schema), name),
        None => QualifiedName::new(None, text),
    }
}

fn new(text: &str, details: Details, depends_on: &[ObjectId]) -> NewDefinition {
    let name = name(text);
    NewDefinition {
        schema: name.schema.unwrap_or_else(|| "public".to_string()),
        name: name.name,
        columns: vec![PgType::Int8.field("id", false), PgType::Varchar(Some(20)).field("Name", true)],
        depends_on: depends_on.to_vec(),
        primary_key: vec![0],
        created_at: 1,
        details,
    }
}

fn view(query: &str) -> Details {
    Details::View(ViewDetails {
        query: query.to_string(),
        column_names: vec![],
        search_path: path(),
        late_of: None,
    })
}

fn table() -> Details {
    Details::Table(TableDetails::default())
}

/// t (1) ← v (2) ← mv (3), t ← index (4), t2 (5).
fn sample() -> Catalog {
    let index = Details::Index(IndexDetails {
        relation: 1,
        relation_name: "public.t".to_string(),
        columns: vec!["id".to_string()],
        unique: false,
        with: WithOptions::default(),
    });
    let mv = MaterializedViewDetails {
        query: "SELECT * FROM v".to_string(),
        emit: Some("EMIT CHANGES".to_string()),
        time_zone: "UTC".into(),
        search_path: path(),
        ..Default::default()
    };
    let mut catalog = Catalog::new();
    for definition in [
        new("t", table(), &[]),
        new("v", view("SELECT * FROM t"), &[1]),
        new("mv", Details::MaterializedView(mv), &[2]),
        new("t_idx", index, &[1]),
        new("t2", table(), &[]),
    ] {
        catalog = catalog.create(definition).unwrap().0;
    }
    catalog
}

#[test]
fn names_resolve_along_the_search_path() {
    let catalog = sample().create_schema("s").unwrap();
    let (catalog, in_s) = catalog.create(new("s.t", table(), &[])).unwrap();
    let both = vec!["s".to_string(), "public".to_string()];
    assert_eq!(catalog.resolve(&name("t"), &both).unwrap().id, in_s.id);
    assert_eq!(catalog.resolve(&name("t"), &path()).unwrap().id, 1);
    assert_eq!(catalog.resolve(&name("s.t"), &path()).unwrap().id, in_s.id);
    assert_eq!(catalog.resolve(&name("v"), &both).unwrap().oid, FIRST_OID + 1);
    assert_eq!(catalog.creation_schema(None, &both).unwrap(), "s");
    assert_eq!(catalog.creation_schema(Some("x"), &both).unwrap_err().sqlstate(), "3F000");
}

#[test]
fn unknown_names_get_a_suggestion() {
    let catalog = sample();
    let error = catalog.resolve(&name("tt2"), &path()).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("42P01", "relation \"tt2\" does not exist"));
    assert_eq!(error.hint(), Some("Perhaps you meant \"t2\"."));
    let error = catalog.resolve(&name("zzzzz"), &path()).unwrap_err();
    assert_eq!(error.hint(), None);
    assert_eq!(catalog.resolve_kind(Kind::Secret, &name("x"), &path()).unwrap_err().sqlstate(), "42704");
    let error = catalog.resolve_kind(Kind::MaterializedView, &name("v"), &path()).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("42809", "\"v\" is not a materialized view"));
    assert_eq!(error.hint(), Some("It is a view: write VIEW instead of MATERIALIZED VIEW in the statement."));
    let error = catalog.resolve_kind(Kind::Index, &name("t"), &path()).unwrap_err();
    assert_eq!(error.message(), "\"t\" is not an index");
}

#[test]
fn a_name_is_taken_once_per_namespace() {
    let catalog = sample();
    let error = catalog.create(new("t", view("SELECT 1"), &[])).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("42P07", "relation \"t\" already exists"));
    let secret = || Details::Secret(SecretDetails { value: SecretValue("x".into()) });
    let (catalog, _) = catalog.create(new("t", secret(), &[])).unwrap();
    assert_eq!(catalog.create(new("t", secret(), &[])).unwrap_err().sqlstate(), "42710");
    assert_eq!(catalog.create(new("nowhere.t", table(), &[])).unwrap_err().sqlstate(), "3F000");
    assert_eq!(catalog.create_schema("public").unwrap_err().sqlstate(), "42P06");
    assert_eq!(catalog.create_schema("pg_x").unwrap_err().sqlstate(), "42939");
}

#[test]
fn drops_check_dependents() {
    let catalog = sample();
    let error = catalog.drop_order(&[1], false).unwrap_err();
    assert_eq!(
        (error.sqlstate(), error.message()),
        ("2BP01", "cannot drop table t because other objects depend on it")
    );
    assert_eq!(error.detail(), Some("view v depends on table t\nmaterialized view mv depends on view v"));
    assert_eq!(error.hint(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
    assert_eq!(catalog.drop_order(&[1], true).unwrap(), [4, 3, 2, 1]);
    assert_eq!(catalog.drop_order(&[1, 2, 3], false).unwrap(), [4, 3, 2, 1]);
    assert_eq!(catalog.drop_order(&[3], false).unwrap(), [3]);
    let after = catalog.remove(&catalog.drop_order(&[1], true).unwrap());
    assert_eq!(after.objects().count(), 1);
    assert!(after.lookup(&name("t"), &path()).is_none());
    assert!(catalog.lookup(&name("t"), &path()).is_some(), "the older snapshot stays as it was");
    let (after, again) = after.create(new("t", table(), &[])).unwrap();
    assert_eq!((again.id, again.oid), (6, FIRST_OID + 5), "ids are not reused");
    assert_eq!(after.drop_schema("public").unwrap_err().sqlstate(), "2BP01");
}

#[test]
fn renames_and_comments() {
    let catalog = sample();
    let renamed = catalog.rename(5, "T 3").unwrap();
    assert!(renamed.lookup(&name("t2"), &path()).is_none());
    assert!(renamed.get(5).unwrap().definition_sql.starts_with("CREATE TABLE public.\"T 3\" ("));
    assert_eq!(catalog.rename(5, "v").unwrap_err().sqlstate(), "42P07");
    assert_eq!(catalog.rename(1, "x").unwrap_err().sqlstate(), "2BP01");
    let commented = catalog.comment(1, None, Some("facts".into())).unwrap();
    let commented = commented.comment(1, Some("Name"), Some("who".into())).unwrap();
    let t = commented.get(1).unwrap();
    assert_eq!((t.comment.as_deref(), t.column_comments[&1].as_str()), (Some("facts"), "who"));
    let error = catalog.comment(1, Some("nam"), None).unwrap_err();
    assert_eq!((error.sqlstate(), error.hint()), ("42703", Some("Perhaps you meant \"Name\".")));
}

fn options(items: &[(&str, OptionText)]) -> WithOptions {
    WithOptions(items.iter().map(|(k, v)| (k.to_string(), v.clone())).collect())
}

fn orders() -> NewDefinition {
    let details = SourceDetails {
        connector: "kafka".into(),
        with: options(&[
            ("connector", OptionText::Text("kafka".into())),
            ("properties.sasl.password", OptionText::Text("hunter2".into())),
            ("properties.ssl.key.password", OptionText::Secret("pw".into())),
            ("scan.watermark.idle-timeout", OptionText::Text("it's".into())),
        ]),
        watermark: Some(WatermarkDefinition {
            column: "id".into(),
            expression: Some("id - 1".into()),
            percentile: None,
        }),
        includes: vec![IncludeDefinition { kind: "key".into(), column: "k".into() }],
        format: Some(FormatDefinition {
            format: "plain".into(),
            encode: "csv".into(),
            options: options(&[("delimiter", OptionText::Text(";".into()))]),
        }),
        generated: BTreeMap::from([("Name".to_string(), "(upper('x'))".to_string())]),
        start_offsets: BTreeMap::from([(0, 42)]),
    };
    let mut definition = new("orders", Details::Source(details), &[]);
    definition.columns.push(PgType::Bytea.field("k", true));
    definition
}

#[test]
fn show_create_masks_what_is_secret() {
    assert_eq!(
        render_create(&orders()),
        "CREATE SOURCE public.orders (\n  id bigint NOT NULL,\n  \"Name\" character varying(20) AS (upper('x')),\n  \
         PRIMARY KEY (id),\n  WATERMARK FOR id AS id - 1\n)\nINCLUDE KEY AS k\n\
         WITH (connector = 'kafka', properties.sasl.password = '***', properties.ssl.key.password = SECRET pw, \
         scan.watermark.idle-timeout = 'it''s')\nFORMAT PLAIN ENCODE CSV (delimiter = ';')"
    );
    let catalog = sample();
    assert_eq!(
        catalog.get(3).unwrap().definition_sql,
        "CREATE MATERIALIZED VIEW public.mv AS\nSELECT * FROM v\nEMIT CHANGES"
    );
    assert_eq!(catalog.get(4).unwrap().definition_sql, "CREATE INDEX t_idx ON public.t (id)");
    let secret = new("s", Details::Secret(SecretDetails { value: SecretValue("hunter2".into()) }), &[]);
    assert_eq!(render_create(&secret), "CREATE SECRET public.s AS '***'");
    let shown = format!("{secret:?} {:?}", orders());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(quote_identifier("select"), "\"select\"");
    assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    assert_eq!(quote_literal("a\\b'c"), "E'a\\\\b''c'");
}

#[test]
fn the_store_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (store, empty) = CatalogStore::open(directory.path()).unwrap();
    assert_eq!(empty.objects().count(), 0);
    let mut wide = new("types", table(), &[]);
    wide.columns = [
        PgType::Bool,
        PgType::Int2,
        PgType::Int4,
        PgType::Float4,
        PgType::Float8,
        PgType::Numeric(None),
        PgType::Numeric(Some((12, 2))),
        PgType::Numeric(Some((5, -2))),
        PgType::Text,
        PgType::Varchar(None),
        PgType::Bytea,
        PgType::Date,
        PgType::Time,
        PgType::Timestamp,
        PgType::Timestamptz,
        PgType::Interval,
        PgType::Uuid,
        PgType::Jsonb,
        PgType::Name,
        PgType::Oid,
        PgType::Array(Box::new(PgType::Int4)),
    ]
    .iter()
    .enumerate()
    .map(|(i, t)| t.field(&format!("c{i}"), i % 2 == 0))
    .collect();
    let catalog = sample().create_schema("s").unwrap().create(orders()).unwrap().0.create(wide).unwrap().0;
    store.save(&catalog).unwrap();
    let (_, loaded) = CatalogStore::open(directory.path()).unwrap();
    assert!(loaded.objects().eq(catalog.objects()));
    assert!(loaded.schemas().eq(catalog.schemas()));
    let (_, next) = loaded.create(new("next", table(), &[])).unwrap();
    assert_eq!(next.id, 8);
    store.save(&loaded.remove(&[5])).unwrap();
    assert_eq!(CatalogStore::open(directory.path()).unwrap().1.objects().count(), 6);
}

#[test]
fn a_damaged_or_newer_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = CatalogStore::open(directory.path()).unwrap();
    store.save(&sample()).unwrap();
    let file = directory.path().join("catalog.json");
    let good = std::fs::read_to_string(&file).unwrap();
    for (bad, sqlstate) in [
        (good.replace("\"mv\"", "\"mx\""), "XX001"),
        (good[..good.len() / 2].to_string(), "XX001"),
        (String::new(), "XX001"),
        (good.replace("\"format_version\": 1", "\"format_version\": 99"), "55000"),
    ] {
        assert_ne!(bad, good);
        std::fs::write(&file, &bad).unwrap();
        let error = CatalogStore::open(directory.path()).unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate);
        assert!(error.message().contains("catalog.json") && error.hint().is_some());
    }
}
