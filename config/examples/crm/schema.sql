-- A CRM that was written with an object mapper: camelCase names in quotes, enums, and a junction table for each list of
-- ids. Twenty-six collections become twenty-six tables and ten junction tables.

CREATE TYPE "UserRole" AS ENUM ('ADMIN', 'MANAGER', 'MEMBER');
CREATE TYPE "UserStatus" AS ENUM ('ACTIVE', 'INACTIVE', 'PENDING');
CREATE TYPE "LeadStatus" AS ENUM ('NEW', 'CONTACTED', 'QUALIFIED', 'LOST', 'UNKNOWN');
CREATE TYPE "TaskPriority" AS ENUM ('LOW', 'NORMAL', 'HIGH');
CREATE TYPE "ActivityType" AS ENUM ('CALL', 'EMAIL', 'MEETING', 'OTHER');
CREATE TYPE "TargetType" AS ENUM ('account', 'contact', 'lead', 'opportunity');

-- people and what they may see ----------------------------------------------------------------------------------------
CREATE TABLE "Users" (
    "id"          uuid PRIMARY KEY,
    "email"       text NOT NULL UNIQUE,
    "name"        text,
    "role"        "UserRole" NOT NULL,
    "status"      "UserStatus" NOT NULL,
    "isAdmin"     boolean NOT NULL,
    "lastLoginAt" timestamptz,
    "createdAt"   timestamptz NOT NULL
);
CREATE TABLE "Employees" (
    "id"       uuid PRIMARY KEY,
    "userId"   uuid REFERENCES "Users" ("id"),
    "position" text,
    "salary"   numeric(12, 2),
    "hiredOn"  date
);
CREATE TABLE "Teams" (
    "id"     uuid PRIMARY KEY,
    "name"   text NOT NULL,
    "leadId" uuid REFERENCES "Users" ("id")
);
CREATE TABLE "Modules" (
    "id"       uuid PRIMARY KEY,
    "name"     text NOT NULL UNIQUE,
    "position" integer NOT NULL,
    "enabled"  boolean NOT NULL
);

-- lists ---------------------------------------------------------------------------------------------------------------
CREATE TABLE "Industries" ("id" uuid PRIMARY KEY, "name" text NOT NULL);
CREATE TABLE "SalesStages" ("id" uuid PRIMARY KEY, "name" text NOT NULL, "probability" integer, "order" integer NOT NULL);
CREATE TABLE "OpportunityTypes" ("id" uuid PRIMARY KEY, "name" text NOT NULL, "order" integer NOT NULL);
CREATE TABLE "DocumentTypes" ("id" uuid PRIMARY KEY, "name" text NOT NULL);
CREATE TABLE "InvoiceStates" ("id" uuid PRIMARY KEY, "name" text NOT NULL);
CREATE TABLE "Currencies" ("code" varchar(3) PRIMARY KEY, "name" text NOT NULL, "rate" numeric(12, 6) NOT NULL);

-- sales ---------------------------------------------------------------------------------------------------------------
CREATE TABLE "Accounts" (
    "id"             uuid PRIMARY KEY,
    "name"           text NOT NULL,
    "industryId"     uuid REFERENCES "Industries" ("id"),
    "assignedTo"     uuid REFERENCES "Users" ("id"),
    "billingStreet"  text,
    "billingCity"    text,
    "annualRevenue"  numeric(16, 2),
    "employeesCount" integer,
    "createdBy"      uuid REFERENCES "Users" ("id"),
    "updatedBy"      uuid REFERENCES "Users" ("id"),
    "createdAt"      timestamptz NOT NULL,
    "updatedAt"      timestamptz
);
CREATE TABLE "Contacts" (
    "id"        uuid PRIMARY KEY,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "firstName" text,
    "lastName"  text NOT NULL,
    "email"     text,
    "birthday"  date,
    "tags"      text[] NOT NULL,
    "social"    jsonb,
    "createdBy" uuid REFERENCES "Users" ("id"),
    "createdAt" timestamptz NOT NULL
);
CREATE TABLE "Leads" (
    "id"        uuid PRIMARY KEY,
    "firstName" text,
    "lastName"  text NOT NULL,
    "company"   text,
    "status"    "LeadStatus" NOT NULL,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "createdBy" uuid REFERENCES "Users" ("id"),
    "createdAt" timestamptz NOT NULL
);
CREATE TABLE "Opportunities" (
    "id"        uuid PRIMARY KEY,
    "name"      text NOT NULL,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "typeId"    uuid REFERENCES "OpportunityTypes" ("id"),
    "stageId"   uuid REFERENCES "SalesStages" ("id"),
    "budget"    numeric(16, 2),
    "currency"  varchar(3) REFERENCES "Currencies" ("code"),
    "closesOn"  date,
    "createdBy" uuid REFERENCES "Users" ("id"),
    "createdAt" timestamptz NOT NULL
);
CREATE TABLE "Campaigns" (
    "id"        uuid PRIMARY KEY,
    "name"      text NOT NULL,
    "startsOn"  date,
    "budget"    numeric(14, 2),
    "createdBy" uuid REFERENCES "Users" ("id")
);
CREATE TABLE "Contracts" (
    "id"        uuid PRIMARY KEY,
    "title"     text NOT NULL,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "value"     numeric(16, 2) NOT NULL,
    "signedOn"  date,
    "createdBy" uuid REFERENCES "Users" ("id")
);
CREATE TABLE "Products" (
    "id"       uuid PRIMARY KEY,
    "sku"      text NOT NULL UNIQUE,
    "name"     text NOT NULL,
    "price"    numeric(12, 2) NOT NULL,
    "features" jsonb
);
CREATE TABLE "Invoices" (
    "id"        uuid PRIMARY KEY,
    "number"    text NOT NULL UNIQUE,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "stateId"   uuid REFERENCES "InvoiceStates" ("id"),
    "total"     numeric(14, 2) NOT NULL,
    "paid"      boolean NOT NULL,
    "dueOn"     date,
    "lines"     jsonb NOT NULL,
    "createdBy" uuid REFERENCES "Users" ("id")
);

-- work ----------------------------------------------------------------------------------------------------------------
CREATE TABLE "Boards" (
    "id"        uuid PRIMARY KEY,
    "title"     text NOT NULL,
    "icon"      text,
    "isPublic"  boolean NOT NULL,
    "createdBy" uuid REFERENCES "Users" ("id")
);
CREATE TABLE "Sections" (
    "id"       uuid PRIMARY KEY,
    "boardId"  uuid NOT NULL REFERENCES "Boards" ("id") ON DELETE CASCADE,
    "title"    text NOT NULL,
    "position" integer NOT NULL
);
CREATE TABLE "Tasks" (
    "id"         uuid PRIMARY KEY,
    "sectionId"  uuid REFERENCES "Sections" ("id"),
    "title"      text NOT NULL,
    "content"    text,
    "priority"   "TaskPriority" NOT NULL,
    "position"   integer NOT NULL,
    "assignedTo" uuid REFERENCES "Users" ("id"),
    "dueAt"      timestamptz,
    "createdBy"  uuid REFERENCES "Users" ("id"),
    "createdAt"  timestamptz NOT NULL
);
CREATE TABLE "TaskComments" (
    "id"        uuid PRIMARY KEY,
    "taskId"    uuid NOT NULL REFERENCES "Tasks" ("id") ON DELETE CASCADE,
    "userId"    uuid REFERENCES "Users" ("id"),
    "comment"   text NOT NULL,
    "createdAt" timestamptz NOT NULL
);
CREATE TABLE "Documents" (
    "id"        uuid PRIMARY KEY,
    "name"      text NOT NULL,
    "typeId"    uuid REFERENCES "DocumentTypes" ("id"),
    "url"       text NOT NULL,
    "size"      bigint NOT NULL,
    "createdBy" uuid REFERENCES "Users" ("id"),
    "createdAt" timestamptz NOT NULL
);

-- what is about something: an account, a contact, a lead or an opportunity ---------------------------------------------
CREATE TABLE "Activities" (
    "id"         uuid PRIMARY KEY,
    "type"       "ActivityType" NOT NULL,
    "targetType" "TargetType" NOT NULL,
    "targetId"   uuid NOT NULL,
    "summary"    text,
    "createdBy"  uuid REFERENCES "Users" ("id"),
    "createdAt"  timestamptz NOT NULL
);
CREATE TABLE "Notes" (
    "id"        uuid PRIMARY KEY,
    "accountId" uuid REFERENCES "Accounts" ("id"),
    "contactId" uuid REFERENCES "Contacts" ("id"),
    "leadId"    uuid REFERENCES "Leads" ("id"),
    "text"      text NOT NULL,
    "createdBy" uuid REFERENCES "Users" ("id"),
    "createdAt" timestamptz NOT NULL
);
CREATE TABLE "Notifications" (
    "id"     uuid PRIMARY KEY,
    "userId" uuid NOT NULL REFERENCES "Users" ("id") ON DELETE CASCADE,
    "text"   text NOT NULL,
    "read"   boolean NOT NULL,
    "raw"    jsonb NOT NULL
);

-- lists of ids --------------------------------------------------------------------------------------------------------
CREATE TABLE "TeamMembers" (
    "teamId" uuid REFERENCES "Teams" ("id") ON DELETE CASCADE, "userId" uuid REFERENCES "Users" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("teamId", "userId")
);
CREATE TABLE "AccountWatchers" (
    "accountId" uuid REFERENCES "Accounts" ("id") ON DELETE CASCADE, "userId" uuid REFERENCES "Users" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("accountId", "userId")
);
CREATE TABLE "BoardWatchers" (
    "boardId" uuid REFERENCES "Boards" ("id") ON DELETE CASCADE, "userId" uuid REFERENCES "Users" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("boardId", "userId")
);
CREATE TABLE "OpportunityContacts" (
    "opportunityId" uuid REFERENCES "Opportunities" ("id") ON DELETE CASCADE, "contactId" uuid REFERENCES "Contacts" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("opportunityId", "contactId")
);
CREATE TABLE "CampaignContacts" (
    "campaignId" uuid REFERENCES "Campaigns" ("id") ON DELETE CASCADE, "contactId" uuid REFERENCES "Contacts" ("id") ON DELETE CASCADE,
    "position" integer NOT NULL,
    PRIMARY KEY ("campaignId", "contactId")
);
CREATE TABLE "ContractProducts" (
    "contractId" uuid REFERENCES "Contracts" ("id") ON DELETE CASCADE, "productId" uuid REFERENCES "Products" ("id"),
    PRIMARY KEY ("contractId", "productId")
);
CREATE TABLE "DocumentAccounts" (
    "documentId" uuid REFERENCES "Documents" ("id") ON DELETE CASCADE, "accountId" uuid REFERENCES "Accounts" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("documentId", "accountId")
);
CREATE TABLE "DocumentContacts" (
    "documentId" uuid REFERENCES "Documents" ("id") ON DELETE CASCADE, "contactId" uuid REFERENCES "Contacts" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("documentId", "contactId")
);
CREATE TABLE "DocumentTasks" (
    "documentId" uuid REFERENCES "Documents" ("id") ON DELETE CASCADE, "taskId" uuid REFERENCES "Tasks" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("documentId", "taskId")
);
CREATE TABLE "DocumentInvoices" (
    "documentId" uuid REFERENCES "Documents" ("id") ON DELETE CASCADE, "invoiceId" uuid REFERENCES "Invoices" ("id") ON DELETE CASCADE,
    PRIMARY KEY ("documentId", "invoiceId")
);
