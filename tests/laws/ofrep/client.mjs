// Evaluates flags with the OpenFeature SDK and its OFREP provider: cases as JSON on stdin, results on stdout.
import { readFileSync } from 'node:fs';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const [url, token] = process.argv.slice(2);
const headers = [['Authorization', `Bearer ${token}`]];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers }));
const client = OpenFeature.getClient();
client.setLogger({ error() {}, warn() {}, info() {}, debug() {} });

const results = [];
for (const { flag, key, attributes, type } of JSON.parse(readFileSync(0, 'utf8'))) {
  const context = { ...(key === undefined ? {} : { targetingKey: key }), ...attributes };
  const details = type === 'boolean'
    ? await client.getBooleanDetails(flag, false, context)
    : await client.getStringDetails(flag, 'default', context);
  const { value, variant = null, reason, errorCode: error = null, flagMetadata: metadata } = details;
  results.push({ value, variant, reason, error, metadata });
}
process.stdout.write(JSON.stringify(results));
