//! A broker that wants TLS and a password: sources that may read, and those that may not.

use super::{SOURCE, Scene, expect_refusal};

const PLAIN: [(&str, &str); 3] =
    [("sasl.mechanism", "PLAIN"), ("sasl.username", "alice"), ("sasl.password", "plain-secret")];
const SCRAM: [(&str, &str); 3] =
    [("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "bob"), ("sasl.password", "scram-secret")];

impl Scene {
    /// CREATE SOURCE of the orders over the secure listener.
    fn secure_source(&self, name: &str, trusted: bool, login: [(&str, &str); 3]) -> String {
        let mut options = "properties.security.protocol = 'SASL_SSL'".to_string();
        for (property, value) in login {
            options += &format!(", properties.{property} = '{value}'");
        }
        if trusted {
            let certificate = self.kafka.file("broker.pem");
            options += &format!(", properties.ssl.ca.location = '{}'", certificate.display());
        }
        SOURCE
            .replace("SOURCE orders", &format!("SOURCE {name}"))
            .replace("{broker}", &format!("127.0.0.1:{}", self.kafka.port + 2))
            .replace("scan.startup.mode", &format!("{options}, scan.startup.mode"))
    }
}

/// Both mechanisms read what the plain listener wrote; the password is shown to nobody.
pub fn readable(scene: &mut Scene) -> Result<(), String> {
    let good = scene.good()?;
    let client = scene.client()?;
    for (name, login) in [("with_plain", PLAIN), ("with_scram", SCRAM)] {
        scene.query(&client, &scene.secure_source(name, true, login))?;
        let view = format!("CREATE MATERIALIZED VIEW {name}_n AS SELECT count(*) AS n FROM {name}");
        scene.query(&client, &view)?;
        let count = format!("SELECT n FROM {name}_n");
        scene.expect(&count, &[&good])?;
        let shown = scene.query(&client, &format!("SHOW CREATE SOURCE {name}"))?.lines().join("\n");
        if shown.contains("secret") || !shown.contains("sasl.username") {
            return Err(format!("SHOW CREATE SOURCE shows: {shown}"));
        }
    }
    for name in ["with_plain", "with_scram"] {
        scene.query(&client, &format!("DROP SOURCE {name} CASCADE"))?;
    }
    Ok(())
}

pub fn refusals(scene: &mut Scene) -> Result<(), String> {
    let codes = ["08001", "08006", "28000", "28P01"];
    let wrong = [PLAIN[0], PLAIN[1], ("sasl.password", "guess")];
    expect_refusal(scene, &scene.secure_source("refused", true, wrong), &codes, "uthentication")?;
    let wrong = [SCRAM[0], SCRAM[1], ("sasl.password", "guess")];
    expect_refusal(scene, &scene.secure_source("refused", true, wrong), &codes, "uthentication")?;
    expect_refusal(scene, &scene.secure_source("refused", false, PLAIN), &codes, "certificate")?;
    let nowhere = scene.secure_source("refused", true, PLAIN).replace("broker.pem", "no-such.pem");
    expect_refusal(scene, &nowhere, &["58P01"], "no-such.pem")
}
