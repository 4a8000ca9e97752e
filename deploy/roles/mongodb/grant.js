// Makes the role of role.json and a user that has nothing else, or renews the rights of a role that exists:
//
//   mongosh "$ADMIN_URI" --eval 'const database = "shop", user = "driftless"' roles/mongodb/grant.js
//
// The role may read the database and its change stream. `find` on the oplog is for the margin that `cutover check` demands; without
// it set cutover.oplog_margin = "0s". `collStats` and `listIndexes` are for `analyze` and `init`, which carry indexes over; the daemon
// does without them. The password is asked for.
const command = JSON.parse(fs.readFileSync(path.join(__dirname, "role.json"), "utf8"));
command.privileges.filter((privilege) => privilege.resource.db !== "local").forEach((privilege) => { privilege.resource.db = database; });
const admin = db.getSiblingDB("admin");
if (admin.getRole(command.createRole)) {
  admin.updateRole(command.createRole, { privileges: command.privileges, roles: command.roles });
} else {
  admin.runCommand(command);
}
if (!admin.getUser(user)) {
  admin.createUser({ user, pwd: passwordPrompt(), roles: [command.createRole] });
}
