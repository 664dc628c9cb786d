//! The queries of the runbooks run on the schema that they are written for.

use crate::postgres::{CORA, Postgres, execute};

#[tokio::test]
async fn every_query_of_a_runbook_runs() {
    let Some(postgres) = Postgres::shared().await else { return };
    let mut connection = postgres.database(CORA).await.connect().await;
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut queries = 0;
    for file in std::fs::read_dir(rules).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for block in text.split("```sql\n").skip(1) {
            let query = block.split("```").next().unwrap();
            execute(&mut connection, &format!("BEGIN READ ONLY; {query} COMMIT")).await;
            queries += 1;
        }
    }
    assert!(queries > 5, "only {queries} queries found");
}
