// Draws every dashboard in a browser, from the answers of a Prometheus; prints what each panel shows and what went wrong, as JSON.
// Arguments: the address of Prometheus, the job, the ending of the pictures' names, the seconds that they show, the folder of the
// dashboards, that of `panels.jsx`, and that of the pictures.
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import chromium from '@sparticuz/chromium';
import { build } from 'esbuild';
import { chromium as browsers } from 'playwright-core';

const [prometheus, job, times, seconds, dashboards, sources, pictures] = process.argv.slice(2);
const packages = join(import.meta.dirname, 'node_modules');
const grafana = (name) => join(packages, '@grafana', name, 'dist');
const now = Date.now();
const range = { from: now - seconds * 1000, to: now };

// Grafana's modules import the default of others that have none for a module of Node, so its older form is bundled.
const alias = Object.fromEntries(['data', 'ui'].map((name) => [`@grafana/${name}`, join(grafana(name), 'cjs/index.cjs')]));
const bundle = await build({
  entryPoints: [join(sources, 'panels.jsx')], nodePaths: [packages], alias, bundle: true, write: false, format: 'iife', jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, loader: { '.svg': 'dataurl', '.png': 'dataurl', '.css': 'empty' }, logLevel: 'error',
});

async function ask({ expr, instant }) {
  const query = expr.replaceAll('$__rate_interval', '10s').replaceAll('$job', job).replaceAll('$collection', '.*');
  const times = instant ? { time: now / 1000 } : { start: range.from / 1000, end: now / 1000, step: 1 };
  const url = `${prometheus}/api/v1/query${instant ? '' : '_range'}?${new URLSearchParams({ query, ...times })}`;
  const answer = await (await fetch(url)).json();
  if (answer.status !== 'success') throw new Error(`${query}: ${answer.error}`);
  return answer.data.result;
}

const browser = await browsers.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox'], timeout: 0 });
const shown = {};
for (const file of (await readdir(dashboards)).filter((name) => name.endsWith('.json'))) {
  const dashboard = JSON.parse(await readFile(join(dashboards, file)));
  const answers = await Promise.all(dashboard.panels.map((panel) => Promise.all((panel.targets ?? []).map(ask))));
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 }, locale: 'en-US', timezoneId: 'UTC' });
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error.stack ?? error)));
  await page.route('**/*', async (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === '/') return route.fulfill({ contentType: 'text/html', body: '<!doctype html><html><body></body></html>' });
    const icon = pathname.includes('/img/icons/') && (await readFile(join(grafana('ui'), 'public', pathname.slice(pathname.indexOf('/img/')))).catch(() => null));
    return icon ? route.fulfill({ contentType: 'image/svg+xml', body: icon }) : route.fulfill({ status: 204 });
  });
  await page.goto('http://dashboards.local/', { timeout: 0 });
  await page.addStyleTag({ path: join(packages, 'uplot/dist/uPlot.min.css') });
  await page.addScriptTag({ content: bundle.outputFiles[0].text });
  await page.evaluate(([dashboard, answers, range]) => window.draw(dashboard, answers, range), [dashboard, answers, range]);
  const panels = await page.locator('[data-panel]').evaluateAll((all) => all.map((one) => ({
    title: one.dataset.panel, text: one.innerText, drawn: one.querySelector('canvas, [role="table"], [data-value]') !== null,
  })));
  const name = file.replace('.json', '');
  await page.screenshot({ path: join(pictures, `${name}-${times}.png`), fullPage: true });
  shown[name] = { panels, complaints };
  await page.close();
}
await browser.close();
process.stdout.write(JSON.stringify(shown));
