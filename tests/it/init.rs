//! `driftless init` on documents that something is said about: indexes, a validator, and the schemas of an ORM. The draft names each as
//! the source of what it decided, and works as it is.

use driftless_testing::{migration::Migration, stack::Stack};
use mongodb::{
    IndexModel,
    bson::{Document, doc, oid::ObjectId},
    options::IndexOptions,
};

const PRISMA: &str = r#"
model Customer {
  id      String  @id @default(auto()) @map("_id") @db.ObjectId
  email   String  @unique
  referee String? @db.ObjectId
  by      Customer? @relation("refers", fields: [referee], references: [id], onDelete: NoAction, onUpdate: NoAction)
  orders  Order[]
  @@map("customers")
}

enum Status {
  open
  paid
}

model Order {
  id         String   @id @default(auto()) @map("_id") @db.ObjectId
  customer   Customer @relation(fields: [customerId], references: [id])
  customerId String   @map("customer") @db.ObjectId
  status     Status   @default(open)
  note       String
  coupon     String?
  total      Int      @default(0)
  @@map("orders")
}

model Gone {
  id String @id @map("_id")
}
"#;

const MONGOOSE: &str = r#"{ "orders": {
  "required": ["status", "country"],
  "properties": { "status": { "bsonType": "string", "enum": ["open"] }, "country": { "bsonType": "string" },
    "customer": { "bsonType": "objectId", "reference": "customers" } } } }"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_documents_decides_with_them() {
    let stack = Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), "init", "", "").await;
    let unique = |name: &str| {
        IndexModel::builder().keys(doc! { name: 1 }).options(IndexOptions::builder().unique(true).build()).build()
    };
    migration.collection("countries").create_index(unique("code")).await.expect("an index");
    migration.collection("customers").create_index(unique("email")).await.expect("an index");
    let validator =
        doc! { "$jsonSchema": { "required": ["email"], "properties": { "email": { "bsonType": "string" } } } };
    let rule = doc! { "collMod": "customers", "validator": validator };
    migration.source.run_command(rule).await.expect("a validator");
    let ids: Vec<ObjectId> = (1..7).map(|at| ObjectId::from_bytes([at; 12])).collect();
    let countries = ["de", "fr", "pl"].map(|code| doc! { "_id": code.to_uppercase(), "code": code });
    let customers =
        ids.iter().map(|id| doc! { "_id": id, "email": format!("{}@example", &id.to_hex()[..2]), "referee": ids[0] });
    let orders = ids.iter().enumerate().map(|(at, id)| {
        let country = ["de", "fr", "pl"][at % 3];
        let own = ObjectId::from_bytes([90 + at as u8; 12]);
        let mut order = doc! { "_id": own, "customer": id, "status": "open", "total": 1, "country": country };
        if at > 0 {
            order.insert("note", "x");
        }
        order
    });
    for (name, documents) in [
        ("countries", countries.to_vec()),
        ("customers", customers.collect()),
        ("orders", orders.collect::<Vec<Document>>()),
    ] {
        migration.collection(name).insert_many(documents).await.expect("fill the source");
    }

    let file = |name: &str| migration.mapping().with_file_name(name).to_str().expect("a path of text").to_owned();
    std::fs::write(file("shop.prisma"), PRISMA).expect("the schema");
    std::fs::write(file("mongoose.json"), MONGOOSE).expect("the schemas");
    let analyzed = migration.succeed(&["analyze", "--all", "--prisma", &file("shop.prisma")]).await;
    for told in [
        "→ countries.code",
        "the validator: required",
        "the Prisma schema: required, default \"open\", one of open, paid",
        "→ customers",
    ] {
        assert!(analyzed.contains(told), "{told}: {analyzed}");
    }
    let draft = async |folder: &str, flag: &str, schema: &str| {
        let output = migration.command(&["init", "--yes", "--all", "--to", &file(folder), flag, &file(schema)]).await;
        let logged = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{logged}");
        let read = |name: &str| std::fs::read_to_string(file(folder) + name).expect("a file of the project");
        (read("/schema.sql"), read("/mapping.toml"), logged)
    };
    let (schema, mapping, logged) = draft("prisma", "--prisma", "shop.prisma").await;
    assert!(logged.contains("Gone"), "a collection that is not there: {logged}");
    for line in [
        "    email text NOT NULL, -- the validator demands it",
        "    customer_id uuid NOT NULL, -- a reference by the Prisma schema; the Prisma schema demands it",
        "    status text DEFAULT 'open' NOT NULL CHECK (status IN ('open', 'paid')), -- the Prisma schema gives it the default \"open\"; the Prisma schema demands it; the Prisma schema lists them",
        "    note text, -- the Prisma schema requires it, but 1 of 6 have none",
        "    total integer DEFAULT 0 NOT NULL, -- the Prisma schema gives it the default 0; the Prisma schema demands it",
        "-- no document has coupon, of which the Prisma schema says something",
        "CREATE UNIQUE INDEX ON app.countries (code);",
        "ALTER TABLE app.orders ADD FOREIGN KEY (country) REFERENCES app.countries (code);",
        "ALTER TABLE app.orders ADD FOREIGN KEY (customer_id) REFERENCES app.customers (id);",
        "CREATE INDEX ON app.orders (country);",
    ] {
        assert!(schema.lines().any(|known| known == line), "{line}: {schema}");
    }
    for line in [
        "customer_id = { path = \"customer\", reference = \"customers\" }  # a reference by the Prisma schema",
        "country = \"country\"  # values of countries.code",
    ] {
        assert!(mapping.lines().any(|known| known == line), "{line}: {mapping}");
    }
    let (schema, ..) = draft("mongoose", "--mongoose", "mongoose.json").await;
    assert!(schema.contains("status text NOT NULL CHECK (status IN ('open'))"), "{schema}");
    assert!(
        schema.contains("country text NOT NULL, -- values of countries.code; the Mongoose schema demands it"),
        "{schema}"
    );

    // The draft needs no edit.
    migration.succeed(&["schema", "apply", "--file", &(file("prisma") + "/schema.sql")]).await;
    std::fs::copy(file("prisma") + "/mapping.toml", migration.mapping()).expect("take the mapping over");
    migration.succeed(&["check", "--all"]).await;

    // A file that is no such schema has its line.
    std::fs::write(file("broken.prisma"), "model A {\n  id\n}").expect("the schema");
    let output = migration.command(&["analyze", "--prisma", &file("broken.prisma")]).await;
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && complained.contains("broken.prisma") && complained.contains("line 2"),
        "{complained}"
    );
    migration.finish().await;
}
