//! What a broker has thrown away: records deleted before they were read, a deleted topic.

use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use super::{Scene, expect_refusal};

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}

/// `fail` names both offsets and shows no rows; `skip` goes on and counts the gap.
pub fn deleted_records(scene: &mut Scene) -> Result<(), String> {
    scene.kafka.topic("lossy", 1)?;
    let client = scene.client()?;
    for policy in ["fail", "skip"] {
        let broker = &scene.kafka.address;
        scene.query(&client, &format!("CREATE SOURCE lossy_{policy} (v INT, ts TIMESTAMPTZ) WITH (connector = 'kafka', topic = 'lossy', properties.bootstrap.server = '{broker}', on_data_loss = '{policy}') FORMAT PLAIN ENCODE JSON"))?;
    }
    for minute in 0..10 {
        scene.send_at("lossy", 0, &format!("10:0{minute}:00"))?;
    }
    let mut before = TopicPartitionList::new();
    before.add_partition_offset("lossy", 0, Offset::Offset(6)).map_err(|e| e.to_string())?;
    let admin = scene.admin()?;
    scene.runtime.block_on(admin.delete_records(&before, &options())).map_err(|e| e.to_string())?;

    let view = "CREATE MATERIALIZED VIEW lossy_fail_n AS SELECT count(*) AS n FROM lossy_fail";
    expect_refusal(scene, view, &["22000"], "offsets 0 to 5 are lost")?;
    scene.query(
        &client,
        "CREATE MATERIALIZED VIEW lossy_skip_n AS SELECT count(*) AS n, min(ts) AS first FROM lossy_skip",
    )?;
    scene
        .expect("SELECT n, to_char(first AT TIME ZONE 'UTC', 'HH24:MI') FROM lossy_skip_n", &["4\t10:06"])?;
    let counted =
        "SELECT \"offset\", rows, lost_records, state FROM headwater.sources WHERE name = 'lossy_skip'";
    scene.expect(counted, &["10\t4\t6\trunning"])?;
    scene.send_at("lossy", 0, "10:10:00")?;
    scene.expect("SELECT n FROM lossy_skip_n", &["5"])
}

/// Views keep their last state; a new topic of the same name is not taken for the old one.
pub fn deleted_topic(scene: &mut Scene) -> Result<(), String> {
    scene.kafka.topic("doomed", 1)?;
    let client = scene.client()?;
    let broker = &scene.kafka.address;
    scene.query(&client, &format!("CREATE SOURCE doomed (v INT, ts TIMESTAMPTZ) WITH (connector = 'kafka', topic = 'doomed', properties.bootstrap.server = '{broker}') FORMAT PLAIN ENCODE JSON"))?;
    scene.query(&client, "CREATE MATERIALIZED VIEW doomed_n AS SELECT count(*) AS n FROM doomed")?;
    scene.send_at("doomed", 0, "10:00:00")?;
    scene.expect("SELECT n FROM doomed_n", &["1"])?;
    let admin = scene.admin()?;
    let deleted = scene.runtime.block_on(admin.delete_topics(&["doomed"], &options()));
    deleted.map_err(|e| e.to_string())?;
    let state = "SELECT state, detail LIKE '%topic gone%' FROM headwater.sources WHERE name = 'doomed'";
    scene.expect(state, &["failed\tt"])?;
    scene.expect("SELECT n FROM doomed_n", &["1"])?;
    scene.kafka.topic("doomed", 1)?;
    for _ in 0..5 {
        scene.send_at("doomed", 0, "11:00:00")?;
    }
    std::thread::sleep(Duration::from_secs(2));
    scene.expect(state, &["failed\tt"])?;
    scene.expect("SELECT n FROM doomed_n", &["1"])?;
    // What has failed is in the way of nothing else.
    scene.query(&client, "DROP MATERIALIZED VIEW doomed_n")?;
    scene.query(&client, "DROP SOURCE doomed")?;
    Ok(())
}
