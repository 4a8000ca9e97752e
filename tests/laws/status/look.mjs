// Opens the status page in a browser; prints what it shows, what it asked for, and what browser and axe-core complain about, as JSON.
// Arguments: the address, the verdict to wait for, and the file of a picture without its ending.
import { createRequire } from 'node:module';
import chromium from '@sparticuz/chromium';
import { chromium as browsers } from 'playwright-core';

const [url, verdict, picture] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const browser = await browsers.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox'], timeout: 0 });
const views = [
  { name: 'wide', width: 1280, height: 1500, colorScheme: 'light' },
  { name: 'narrow', width: 320, height: 640, colorScheme: 'dark' },
];
const seen = [];
for (const { name, width, height, colorScheme } of views) {
  // The policy of the page forbids the script of axe-core, and is looked at by itself.
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce', bypassCSP: true });
  const page = await context.newPage();
  seen.push({ name, ...(await look(page, name)) });
  await context.close();
}
const strict = await browser.newPage();
const policy = await refusals(strict);
const old = await silence(strict);
await browser.close();
process.stdout.write(JSON.stringify({ seen, policy, old }));

function listen(page) {
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    complaints.push(dialog.message());
    return dialog.dismiss();
  });
  return complaints;
}

async function open(page) {
  const answer = await page.goto(url, { waitUntil: 'load', timeout: 0 });
  // Not a function inside the page: its policy may forbid that.
  while ((await page.title()) !== verdict + ' · driftless') await page.waitForTimeout(100);
  return answer;
}

async function look(page, name) {
  const complaints = listen(page);
  const requests = new Set();
  page.on('request', (request) => requests.add(new URL(request.url()).origin));
  await open(page);
  await page.addScriptTag({ path: axe });
  const violations = await page.evaluate(async () => (await axe.run()).violations.map((rule) => rule.id + ': ' + rule.nodes.map((node) => node.html).join(' ')));
  // Keys alone reach every table.
  const tables = await page.locator('.wide').count();
  const reached = new Set();
  for (let press = 0; press < tables + 2; press += 1) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => document.activeElement.id));
  }
  const shown = await page.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    headings: [...document.querySelectorAll('h2')].map((heading) => heading.textContent),
    text: document.body.innerText,
    strange: document.querySelectorAll('main img, main iframe, main script, main a').length,
    dark: getComputedStyle(document.body).backgroundColor,
  }));
  const unreached = (await page.locator('.wide').evaluateAll((all) => all.map((one) => one.id))).filter((id) => !reached.has(id));
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: picture + '-' + name + '.png' });
  return { ...shown, complaints, requests: [...requests], violations, unreached };
}

// The page under its own policy: it works, and a script that is not its own does not run.
async function refusals(page) {
  const complaints = listen(page);
  const answer = await open(page);
  const quiet = complaints.length === 0;
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.intruder = true';
    document.body.append(script);
    return window.intruder === true;
  });
  return { quiet, ran, header: answer.headers()['content-security-policy'] };
}

// What the page says once the daemon does not answer any more.
async function silence(page) {
  await page.route('**/api/**', (route) => route.abort());
  const stale = page.getByText('everything below is old');
  await stale.waitFor({ timeout: 0 });
  return stale.textContent();
}
