//! The queries of the runbooks run on the schema that they are written for.

use crate::packs::{PACKS, read};
use crate::postgres::{Postgres, execute};

#[tokio::test]
async fn every_query_of_a_runbook_runs() {
    let Some(postgres) = Postgres::shared().await else { return };
    for (pack, schema) in PACKS {
        let mut connection = postgres.database(schema).await.connect().await;
        let text = read(&format!("rules/{pack}/README.md"));
        for block in text.split("```sql\n").skip(1) {
            let query = block.split("```").next().unwrap();
            execute(&mut connection, &format!("BEGIN READ ONLY; {query} COMMIT")).await;
        }
    }
}
