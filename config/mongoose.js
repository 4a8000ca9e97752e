// Prints what the schemas of Mongoose say about documents, for `driftless analyze --mongoose` and `driftless init --mongoose`.
//
// Run it in the folder of the application, with every file that defines models; it needs no connection:
//
//   node mongoose.js ./src/models/*.js > schemas.json
//
// Written for Mongoose 6 and later. TypeScript works where the application's Node.js runs it: node --import tsx mongoose.js …
const path = require("path");
const { createRequire } = require("module");

const files = process.argv.slice(2).map((file) => path.resolve(file));
const mongoose = createRequire(files[0] ?? path.resolve("index.js"))("mongoose");

// Names of Mongoose's types that MongoDB calls otherwise. A type that is not known says nothing about null.
const types = {
  String: "string", Number: "number", Boolean: "bool", Date: "date", ObjectId: "objectId", ObjectID: "objectId", Buffer: "binData",
  UUID: "binData", Decimal128: "decimal", BigInt: "long", Int32: "int", Double: "double", Array: "array", Map: "object",
  Embedded: "object", Subdocument: "object",
};

// The collection of a model that `ref` names, which may be a model itself.
function collection(ref) {
  const name = typeof ref === "function" ? ref.modelName : ref;
  return typeof name === "string" && mongoose.modelNames().includes(name) ? mongoose.model(name).collection.name : undefined;
}

function preset(value) {
  if (value === Date.now) return { function: "now" };
  return ["string", "number", "boolean"].includes(typeof value) ? value : undefined;
}

function described(type) {
  const options = type.options ?? {};
  if (type.instance === "Array") {
    const element = type.embeddedSchemaType ?? type.caster;
    const items = type.schema ? object(type.schema) : element?.instance && described(element);
    return { bsonType: "array", items: items || undefined };
  }
  if (type.schema) return { ...object(type.schema), default: undefined };
  const values = (type.enumValues ?? []).filter((value) => typeof value === "string");
  return {
    bsonType: types[type.instance],
    enum: values.length > 0 ? values : undefined,
    default: preset(type.defaultValue ?? options.default),
    reference: collection(options.ref),
  };
}

// A schema as one of `$jsonSchema`, with `default` and `reference` beside its keywords.
function object(schema) {
  const root = { bsonType: "object", required: [], properties: {} };
  schema.eachPath((name, type) => {
    // Keys of maps have no names.
    if (name === "__v" || name.includes("$*")) return;
    const parts = name.split(".");
    const last = parts.pop();
    const around = parts.reduce((outer, part) => (outer.properties[part] ??= { bsonType: "object", required: [], properties: {} }), root);
    around.properties[last] = described(type);
    // A condition is a function: what it demands is not always demanded.
    if (type.isRequired && typeof type.options?.required !== "function") {
      around.required.push(last);
      // The objects around a required field are there as well.
      parts.reduce((outer, part) => {
        if (!outer.required.includes(part)) outer.required.push(part);
        return outer.properties[part];
      }, root);
    }
  });
  // Mongoose fills the times of creation and change itself, under these names or others.
  const stamps = schema.options.timestamps;
  for (const name of stamps ? ["createdAt", "updatedAt"] : []) {
    const field = root.properties[typeof stamps[name] === "string" ? stamps[name] : name];
    if (field) field.default = { function: "now" };
  }
  return root;
}

Promise.all(files.map((file) => import(file))).then(() => {
  const schemas = {};
  for (const name of mongoose.modelNames()) {
    const model = mongoose.model(name);
    // A discriminator shares the collection of its base, and not all documents there have its fields.
    if (!model.baseModelName) schemas[model.collection.name] = object(model.schema);
  }
  console.log(JSON.stringify(schemas, null, 2));
});
