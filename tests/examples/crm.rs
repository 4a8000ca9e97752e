//! `config/examples/crm`: many collections with short mappings, lists of ids as junction tables, enums with a fallback.

use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::{
    draw::{Draw, oid},
    harness::{Example, Kind, members},
};

const USERS: u64 = 25;
const ACCOUNTS: u64 = 25;
const CONTACTS: u64 = 30;
/// Table, its columns for the document and the member, collection, and list.
const JUNCTIONS: &[(&str, &str, &str, &str, &str)] = &[
    ("TeamMembers", "teamId", "userId", "Teams", "members"),
    ("AccountWatchers", "accountId", "userId", "crm_Accounts", "watchers"),
    ("BoardWatchers", "boardId", "userId", "Boards", "watchers"),
    ("OpportunityContacts", "opportunityId", "contactId", "crm_Opportunities", "connected_contacts"),
    ("CampaignContacts", "campaignId", "contactId", "crm_Campaigns", "contacts"),
    ("ContractProducts", "contractId", "productId", "crm_Contracts", "products"),
    ("DocumentAccounts", "documentId", "accountId", "Documents", "accountsIDs"),
    ("DocumentContacts", "documentId", "contactId", "Documents", "contactsIDs"),
    ("DocumentTasks", "documentId", "taskId", "Documents", "tasksIDs"),
    ("DocumentInvoices", "documentId", "invoiceId", "Documents", "invoiceIDs"),
];
/// Table and collection.
const ROOTS: &[(&str, &str)] = &[
    ("Users", "Users"),
    ("Employees", "Employees"),
    ("Teams", "Teams"),
    ("Modules", "system_Modules"),
    ("Industries", "crm_Industries"),
    ("SalesStages", "crm_SalesStages"),
    ("OpportunityTypes", "crm_OpportunityTypes"),
    ("DocumentTypes", "DocumentTypes"),
    ("InvoiceStates", "InvoiceStates"),
    ("Currencies", "Currencies"),
    ("Accounts", "crm_Accounts"),
    ("Contacts", "crm_Contacts"),
    ("Leads", "crm_Leads"),
    ("Opportunities", "crm_Opportunities"),
    ("Campaigns", "crm_Campaigns"),
    ("Contracts", "crm_Contracts"),
    ("Products", "Products"),
    ("Invoices", "Invoices"),
    ("Boards", "Boards"),
    ("Sections", "Sections"),
    ("Tasks", "Tasks"),
    ("TaskComments", "TaskComments"),
    ("Documents", "Documents"),
    ("Activities", "Activities"),
    ("Notes", "Notes"),
    ("Notifications", "Notifications"),
];
const CREATED: &[&str] = &["createdBy", "created_by"];

const fn kind(
    name: &'static str,
    documents: u64,
    make: fn(&mut Draw, u64, u64) -> Document,
    optional: &'static [&'static str],
) -> Kind {
    // An invoice has its number under one of two names; the older one alone may become null only together with the other.
    Kind { name, documents, make, optional, joint: &["targetType", "targetId", "invoice_number"] }
}

pub(crate) static KINDS: &[Kind] = &[
    kind("Users", USERS, user, &["name", "userStatus", "is_admin"]),
    kind("Employees", 12, employee, &["salary", "hiredOn"]),
    kind("Teams", 8, team, &["members", "lead"]),
    kind("system_Modules", 6, |_, index, revision| named("system_Modules", index, revision), &[]),
    kind("crm_Industries", 6, |_, index, revision| named("crm_Industries", index, revision), &[]),
    kind("crm_SalesStages", 6, |_, index, revision| named("crm_SalesStages", index, revision), &["probability"]),
    kind("crm_OpportunityTypes", 6, |_, index, revision| named("crm_OpportunityTypes", index, revision), &[]),
    kind("DocumentTypes", 6, |_, index, revision| named("DocumentTypes", index, revision), &[]),
    kind("InvoiceStates", 6, |_, index, revision| named("InvoiceStates", index, revision), &[]),
    kind("Currencies", 8, currency, &[]),
    kind("crm_Accounts", ACCOUNTS, account, &["watchers", "billing", "createdBy", "created_by"]),
    kind("crm_Contacts", CONTACTS, contact, &["birthday", "tags", "createdBy", "created_by"]),
    kind("crm_Leads", 20, lead, &["status", "company"]),
    kind("crm_Opportunities", 20, opportunity, &["connected_contacts", "budget", "currency"]),
    kind("crm_Campaigns", 10, campaign, &["contacts", "startsOn"]),
    kind("crm_Contracts", 10, contract, &["products", "value"]),
    kind("Products", 10, product, &["features"]),
    kind("Invoices", 15, invoice, &["paid", "lines", "due"]),
    kind("Boards", 10, board, &["watchers", "visibility"]),
    kind("Sections", 12, section, &[]),
    kind("Tasks", 25, task, &["priority", "content", "user"]),
    kind("TaskComments", 15, comment, &["user"]),
    kind("Documents", 20, document, &["accountsIDs", "contactsIDs", "tasksIDs", "invoiceIDs", "size"]),
    kind("Activities", 25, activity, &["type", "summary"]),
    kind("Notes", 25, note, &["createdBy", "created_by"]),
    kind("Notifications", 10, notification, &["read"]),
];

fn created(draw: &mut Draw, document: &mut Document) {
    let by = draw.reference("Users", USERS);
    draw.named(document, CREATED, by);
    let now = draw.moment();
    document.insert("createdAt", now);
}

fn named(collection: &str, index: u64, revision: u64) -> Document {
    let place = i64::try_from(index).expect("small");
    doc! {
        "_id": oid(collection, index), "name": format!("{collection} {index}.{revision}"), "position": place,
        "order": place, "probability": 10,
    }
}

fn user(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut user = doc! { "_id": oid("Users", index), "email": format!("u{index}.{revision}@example.org"), "createdAt": draw.moment() };
    let (name, role) = (draw.pick(&["", " ", " Ada "]), draw.pick(&["admin", "member", "ADMIN", "owner"]));
    draw.odd(&mut user, "name", name);
    draw.odd(&mut user, "role", role);
    let status = draw.pick(&["ACTIVE", "INACTIVE", "PENDING", "DELETED"]);
    draw.odd(&mut user, "userStatus", status);
    draw.odd(&mut user, "is_admin", true);
    user
}

fn employee(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut employee = doc! { "_id": oid("Employees", index), "user": draw.reference("Users", USERS) };
    let salary: Bson = draw.pick(&["5200.50".into(), 4_000.into(), 3_999.25.into()]);
    draw.odd(&mut employee, "salary", salary);
    let day = draw.day_text();
    draw.odd(&mut employee, "hiredOn", day);
    let position = draw.text(2);
    draw.odd(&mut employee, "position", position);
    employee
}

fn team(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut team = doc! { "_id": oid("Teams", index), "name": draw.text(2), "lead": draw.reference("Users", USERS) };
    let members = draw.references("Users", USERS, 6);
    draw.odd(&mut team, "members", members);
    team
}

/// The `_id` of a currency is its code.
fn currency(draw: &mut Draw, index: u64, _: u64) -> Document {
    let letter = char::from(b'A' + u8::try_from(index % 26).expect("a letter"));
    let second = char::from(b'A' + u8::try_from(index / 26).expect("a letter"));
    doc! { "_id": format!("C{second}{letter}"), "name": draw.text(1), "rate": draw.pick(&[1.0, 1.25, 0.5]) }
}

fn account(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut account = doc! {
        "_id": oid("crm_Accounts", index), "name": draw.text(2), "industry": draw.reference("crm_Industries", 6),
    };
    created(draw, &mut account);
    let revenue: Bson = draw.pick(&["120000".into(), "a lot".into(), 12.345.into(), "".into(), 7_i64.into()]);
    draw.odd(&mut account, "annual_revenue", revenue);
    let employees: Bson = draw.pick(&[5.into(), "12".into(), "10-20".into()]);
    draw.odd(&mut account, "employees", employees);
    let billing = doc! { "street": draw.text(2), "city": draw.text(1) };
    draw.odd(&mut account, "billing", billing);
    let (assigned, watchers) = (draw.reference("Users", USERS), draw.references("Users", USERS, 5));
    draw.odd(&mut account, "assigned_to", assigned);
    draw.odd(&mut account, "watchers", watchers);
    let (updater, updated) = (draw.reference("Users", USERS), draw.moment());
    draw.odd(&mut account, "updated_by", updater);
    draw.odd(&mut account, "updatedAt", updated);
    account
}

fn contact(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut contact = doc! { "_id": oid("crm_Contacts", index), "first_name": draw.text(1) };
    created(draw, &mut contact);
    let last = draw.text(1);
    draw.named(&mut contact, &["last_name", "lastName"], last);
    let (account, tags) = (draw.reference("crm_Accounts", ACCOUNTS), draw.words(3));
    draw.odd(&mut contact, "accountsIDs", account);
    draw.odd(&mut contact, "tags", tags);
    let birthday: Bson = draw.pick(&["1990-07-01".into(), "July".into(), DateTime::from_millis(86_400_000).into()]);
    draw.odd(&mut contact, "birthday", birthday);
    draw.odd(&mut contact, "email", " ");
    draw.odd(&mut contact, "social_networks", doc! { "web": "https://example.org" });
    contact
}

fn lead(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut lead = doc! { "_id": oid("crm_Leads", index), "lastName": draw.text(1) };
    created(draw, &mut lead);
    let status = draw.pick(&["Lead", "Contacted", "LOST", "NEW", "On fire"]);
    draw.odd(&mut lead, "status", status);
    let (account, company) = (draw.reference("crm_Accounts", ACCOUNTS), draw.text(2));
    draw.odd(&mut lead, "accountsIDs", account);
    draw.odd(&mut lead, "company", company);
    lead
}

fn opportunity(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut opportunity = doc! {
        "_id": oid("crm_Opportunities", index), "name": draw.text(3), "account": draw.reference("crm_Accounts", ACCOUNTS),
        "type": draw.reference("crm_OpportunityTypes", 6), "sales_stage": draw.reference("crm_SalesStages", 6),
    };
    created(draw, &mut opportunity);
    let (budget, close, contacts) = (draw.ratio(0.0, 1e6), draw.moment(), draw.references("crm_Contacts", CONTACTS, 4));
    draw.odd(&mut opportunity, "budget", budget);
    draw.odd(&mut opportunity, "close_date", close);
    draw.odd(&mut opportunity, "connected_contacts", contacts);
    draw.odd(&mut opportunity, "currency", "CAB");
    opportunity
}

fn campaign(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut campaign = doc! { "_id": oid("crm_Campaigns", index), "name": draw.text(2), "budget": draw.int(0, 900) };
    created(draw, &mut campaign);
    let (starts, contacts) = (draw.day_text(), draw.references("crm_Contacts", CONTACTS, 6));
    draw.odd(&mut campaign, "startsOn", starts);
    draw.odd(&mut campaign, "contacts", contacts);
    campaign
}

fn contract(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut contract = doc! {
        "_id": oid("crm_Contracts", index), "title": draw.text(3), "account": draw.reference("crm_Accounts", ACCOUNTS),
    };
    created(draw, &mut contract);
    let (value, signed, products) = (draw.ratio(0.0, 1e5), draw.moment(), draw.references("Products", 10, 4));
    draw.odd(&mut contract, "value", value);
    draw.odd(&mut contract, "signedOn", signed);
    draw.odd(&mut contract, "products", products);
    contract
}

fn product(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut product = doc! {
        "_id": oid("Products", index), "sku": format!("sku-{index}-{revision}"), "name": draw.text(2), "price": draw.int(1, 99),
    };
    let features = doc! { "list": draw.words(2) };
    draw.odd(&mut product, "features", features);
    product
}

fn invoice(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut invoice = doc! {
        "_id": oid("Invoices", index), "account": draw.reference("crm_Accounts", ACCOUNTS),
        "state": draw.reference("InvoiceStates", 6), "total": draw.pick::<Bson>(&["19.99".into(), 20.005.into()]),
    };
    created(draw, &mut invoice);
    draw.named(&mut invoice, &["invoice_number", "number"], format!("2025/{index}/{revision}"));
    if invoice.contains_key("number") {
        invoice.insert("invoice_number", Bson::Null);
    }
    let paid: Bson = draw.pick(&[true.into(), "yes".into(), "0".into()]);
    draw.odd(&mut invoice, "paid", paid);
    let (due, lines) = (draw.moment(), vec![doc! { "text": draw.text(3), "price": 1.10 }]);
    draw.odd(&mut invoice, "due", due);
    draw.odd(&mut invoice, "lines", lines);
    invoice
}

fn board(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut board = doc! { "_id": oid("Boards", index), "title": draw.text(2), "icon": null };
    let user = draw.reference("Users", USERS);
    draw.named(&mut board, &["createdBy", "created_by", "user"], user);
    let visibility = draw.pick(&["public", "private", "secret"]);
    draw.odd(&mut board, "visibility", visibility);
    let watchers = draw.references("Users", USERS, 5);
    draw.odd(&mut board, "watchers", watchers);
    board
}

fn section(draw: &mut Draw, index: u64, _: u64) -> Document {
    let board = draw.reference("Boards", 10);
    doc! { "_id": oid("Sections", index), "board": board, "title": draw.text(2), "position": draw.int(0, 9) }
}

fn task(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut task = doc! {
        "_id": oid("Tasks", index), "section": draw.reference("Sections", 12), "title": draw.text(4), "position": draw.int(0, 9),
    };
    created(draw, &mut task);
    let priority = draw.pick(&["low", "critical", "HIGH", "whenever"]);
    draw.odd(&mut task, "priority", priority);
    let (user, due, content) = (draw.reference("Users", USERS), draw.moment(), draw.text(9));
    draw.odd(&mut task, "user", user);
    draw.odd(&mut task, "dueDateAt", due);
    draw.odd(&mut task, "content", content);
    task
}

fn comment(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut comment = doc! {
        "_id": oid("TaskComments", index), "task": draw.reference("Tasks", 25), "comment": draw.text(9), "createdAt": draw.moment(),
    };
    let user = draw.reference("Users", USERS);
    draw.odd(&mut comment, "user", user);
    comment
}

fn document(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut document = doc! {
        "_id": oid("Documents", index), "document_name": draw.text(3), "document_file_url": "https://example.org/file",
        "document_type": draw.reference("DocumentTypes", 6),
    };
    created(draw, &mut document);
    for (field, collection, count) in [
        ("accountsIDs", "crm_Accounts", ACCOUNTS),
        ("contactsIDs", "crm_Contacts", CONTACTS),
        ("tasksIDs", "Tasks", 25),
        ("invoiceIDs", "Invoices", 15),
    ] {
        let ids = draw.references(collection, count, 4);
        draw.odd(&mut document, field, ids);
    }
    draw.odd(&mut document, "size", 8_000_000_000_i64);
    document
}

fn target(draw: &mut Draw, document: &mut Document, kinds: &[(&str, &str)]) {
    let (kind, collection) = draw.pick(kinds);
    document.insert("targetType", kind);
    let id = draw.reference(collection, 10);
    document.insert("targetId", id);
}

fn activity(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut activity = doc! { "_id": oid("Activities", index) };
    created(draw, &mut activity);
    let kinds = [
        ("account", "crm_Accounts"),
        ("contact", "crm_Contacts"),
        ("lead", "crm_Leads"),
        ("opportunity", "crm_Opportunities"),
    ];
    target(draw, &mut activity, &kinds);
    let (kind, summary) = (draw.pick(&["call", "EMAIL", "meeting", "fax"]), draw.text(5));
    draw.odd(&mut activity, "type", kind);
    draw.odd(&mut activity, "summary", summary);
    activity
}

fn note(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut note = doc! { "_id": oid("Notes", index), "text": draw.text(8) };
    created(draw, &mut note);
    let kinds =
        [("account", "crm_Accounts"), ("contact", "crm_Contacts"), ("lead", "crm_Leads"), ("nothing", "crm_Leads")];
    target(draw, &mut note, &kinds);
    note
}

fn notification(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut notification =
        doc! { "_id": oid("Notifications", index), "user": draw.reference("Users", USERS), "text": draw.text(4) };
    draw.odd(&mut notification, "read", true);
    notification
}

#[tokio::test(flavor = "multi_thread")]
async fn crm() {
    let example = Example::start("crm", "crm", KINDS, 250).await;
    for (table, collection) in ROOTS {
        example.expect_as_many(&format!("\"{table}\""), collection, |_| true).await;
    }
    junctions(&example).await;
    targets(&example).await;
    exact_rows(&example).await;
    odd_values(&example).await;
    let tables: Vec<_> = ROOTS
        .iter()
        .map(|(table, _)| *table)
        .chain(JUNCTIONS.iter().map(|(table, ..)| *table))
        .map(|table| format!("\"{table}\""))
        .collect();
    assert_eq!(tables.len(), 36);
    example.end(&tables.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Compares the junction tables with the rows that PostgreSQL itself makes of the pairs, by its own MD5.
async fn junctions(example: &Example) {
    for (table, own, member, collection, field) in JUNCTIONS {
        let pairs = members(&example.documents(collection).await, field);
        assert!(!pairs.is_empty(), "{collection} has {field}");
        let values: Vec<_> =
            pairs.iter().map(|[own, member]| format!("(md5('{own}')::uuid, md5('{member}')::uuid)")).collect();
        let made = format!("SELECT concat_ws(' ', a, b) FROM (VALUES {}) AS pairs (a, b)", values.join(", "));
        let expected = example.migration.texts(&made).await.into_iter().flatten();
        example.expect(&format!("SELECT concat_ws(' ', \"{own}\", \"{member}\") FROM \"{table}\""), expected).await;
    }
}

/// Checks that the subject of a note is in the column of its kind, and in no other.
async fn targets(example: &Example) {
    let notes = example.documents("Notes").await;
    let expected = notes.iter().map(|note| {
        let column = match note.get_str("targetType") {
            Ok("account") => "1  ",
            Ok("contact") => " 1 ",
            Ok("lead") => "  1",
            _ => "   ",
        };
        format!("{}|{column}", note.get_str("text").expect("a text"))
    });
    let mark = |column: &str| format!("CASE WHEN \"{column}\" IS NULL THEN ' ' ELSE '1' END");
    let marks = [mark("accountId"), mark("contactId"), mark("leadId")].join(" || ");
    example.expect(&format!("SELECT \"text\" || '|' || {marks} FROM \"Notes\""), expected).await;
}

async fn exact_rows(example: &Example) {
    let (older, newer, day) = (oid("Users", 0), oid("Users", 1), DateTime::from_millis(1_740_000_000_000));
    let account = doc! {
        "_id": oid("crm_Accounts", 0), "name": "A", "createdBy": null, "created_by": older, "updatedBy": newer, "updated_by": older,
        "annual_revenue": "12.345", "employees": "10-20", "createdAt": day, "watchers": [newer, older, newer.to_hex()],
    };
    let filter = doc! { "_id": oid("crm_Accounts", 0) };
    example.migration.collection("crm_Accounts").replace_one(filter, account).await.expect("replace the account");
    let lead = doc! { "$set": { "status": "On fire", "lastName": null } };
    example.update("crm_Leads", oid("crm_Leads", 0), lead).await;
    let activity =
        doc! { "$set": { "type": "fax", "targetType": "contact", "targetId": oid("crm_Contacts", 0).to_hex() } };
    example.update("Activities", oid("Activities", 0), activity).await;
    example.agree(&[]).await;
    let id = |collection: &str| format!("md5('{}')::uuid", oid(collection, 0).to_hex());
    let query = format!(
        "SELECT concat_ws('|', \"createdBy\" = md5('{}')::uuid, \"updatedBy\" = md5('{}')::uuid, \"annualRevenue\", coalesce(\"employeesCount\", -1))
         FROM \"Accounts\" WHERE \"id\" = {}",
        older.to_hex(),
        newer.to_hex(),
        id("crm_Accounts")
    );
    example.expect(&query, ["t|t|12.35|-1"]).await;
    let query = format!("SELECT count(*)::text FROM \"AccountWatchers\" WHERE \"accountId\" = {}", id("crm_Accounts"));
    example.expect(&query, ["2"]).await;
    let query =
        format!("SELECT concat_ws('|', \"status\", \"lastName\") FROM \"Leads\" WHERE \"id\" = {}", id("crm_Leads"));
    example.expect(&query, ["UNKNOWN|"]).await;
    let query = format!(
        "SELECT concat_ws('|', \"type\", \"targetType\", \"targetId\" = {}) FROM \"Activities\" WHERE \"id\" = {}",
        id("crm_Contacts"),
        id("Activities")
    );
    example.expect(&query, ["OTHER|contact|t"]).await;
}

async fn odd_values(example: &Example) {
    let campaign = doc! { "$set": { "contacts": [oid("crm_Contacts", 0), null] } };
    example.update("crm_Campaigns", oid("crm_Campaigns", 0), campaign).await;
    example.update("Activities", oid("Activities", 1), doc! { "$set": { "targetType": "invoice" } }).await;
    example.update("Teams", oid("Teams", 0), doc! { "$set": { "members": [1.5] } }).await;
    example.agree(&["LOSSY", "NOT_NULL", "TYPE_MISMATCH"]).await;
    example.update("crm_Campaigns", oid("crm_Campaigns", 0), doc! { "$pop": { "contacts": 1 } }).await;
    let activity = doc! { "$set": { "targetType": "lead", "targetId": oid("crm_Leads", 0) } };
    example.update("Activities", oid("Activities", 1), activity).await;
    example.update("Teams", oid("Teams", 0), doc! { "$set": { "members": [] } }).await;
    // Moves one unique number from one invoice to the other and back.
    let invoices = [0, 1].map(|index| Bson::ObjectId(oid("Invoices", index)));
    example.swap("Invoices", invoices.clone(), &["invoice_number", "number"]).await;
    example.swap("Invoices", invoices, &["invoice_number", "number"]).await;
    example.agree(&[]).await;
}
