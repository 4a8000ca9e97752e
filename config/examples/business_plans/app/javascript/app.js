// The title of a plan, read where driftless says: the smallest whole example.
//
// It asks PostgreSQL itself whether it holds the last write of the session, in the statement that reads: no request more, and exact on
// a physical replica, too.
import { createServer } from 'node:http';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { MongoClient, ObjectId } from 'mongodb';
import pg from 'pg';

const { DRIFTLESS, DRIFTLESS_TOKEN, MONGODB, MONGODB_DATABASE, POSTGRESQL, LISTEN = '127.0.0.1:8001' } = process.env;
const headers = DRIFTLESS_TOKEN ? [['Authorization', `Bearer ${DRIFTLESS_TOKEN}`]] : [];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: DRIFTLESS, headers, timeoutMs: 500 }));
const flags = OpenFeature.getClient();
const mongo = new MongoClient(MONGODB, { writeConcern: { w: 'majority' }, readConcernLevel: 'majority' });
const plans = mongo.db(MONGODB_DATABASE).collection('plans');
const pool = new pg.Pool({ connectionString: POSTGRESQL, connectionTimeoutMillis: 500, statement_timeout: 2000 });
pool.on('error', () => {}); // an idle connection has ended; the next request opens another one

// The row, and whether it is new enough for the session: `written` is the time of its last write.
const TITLE = `
  SELECT $2::bigint IS NULL OR driftless.applied('plans', $2, $3, $1) AS holds,
         (SELECT title FROM app.plans WHERE id = lpad($1, 32, '0')::uuid) AS title`;

async function title(user, id, written) {
  const side = await flags.getStringValue('reads.plans', 'mongodb', { targetingKey: user });
  if (side === 'postgresql') {
    try {
      const { rows: [row] } = await pool.query(TITLE, [id, ...(written?.split('.') ?? [null, null])]);
      if (row.holds) return { side, title: row.title };
    } catch (error) {
      console.warn('PostgreSQL does not answer, MongoDB does:', error.code);
    }
  }
  const plan = await plans.findOne({ _id: new ObjectId(id) }, { projection: { title: 1 } });
  return { side: 'mongodb', title: plan?.title };
}

async function rename(id, title) {
  return mongo.withSession(async (session) => {
    await plans.updateOne({ _id: new ObjectId(id) }, { $set: { title, updatedAt: new Date() } }, { session });
    const { t, i } = session.operationTime;
    return `${t}.${i}`;
  });
}

createServer(async (request, response) => {
  const id = /^\/plans\/([0-9a-f]{24})\/title$/.exec(request.url)?.[1];
  if (!id) return response.writeHead(404).end();
  try {
    if (request.method === 'PUT') {
      let text = '';
      for await (const part of request) text += part;
      return response.writeHead(204, { 'Set-Cookie': `written=${await rename(id, text)}; HttpOnly` }).end();
    }
    const written = /\bwritten=(\d+\.\d+)/.exec(request.headers.cookie)?.[1];
    const found = await title(request.headers['x-user'], id, written);
    return response.writeHead(found.title ? 200 : 404, { 'X-Reads': found.side }).end(found.title);
  } catch (error) {
    return response.writeHead(503).end(`${error.message}\n`);
  }
}).listen({ host: LISTEN.split(':')[0], port: Number(LISTEN.split(':')[1]) });
