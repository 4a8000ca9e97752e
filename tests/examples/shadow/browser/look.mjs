// Opens a file in a browser; prints what the page shows, what it asked for, and what the browser complained about, as JSON.
import { pathToFileURL } from 'node:url';
import chromium from '@sparticuz/chromium';
import { chromium as browsers } from 'playwright-core';

const executablePath = await chromium.executablePath();
const browser = await browsers.launch({ executablePath, args: ['--no-sandbox'], timeout: 0 });
const page = await browser.newPage();
const requests = [];
const complaints = [];
page.on('request', (request) => requests.push(request.url()));
page.on('console', (message) => complaints.push(message.text()));
page.on('pageerror', (error) => complaints.push(String(error)));
page.on('dialog', (dialog) => {
  complaints.push(dialog.message());
  return dialog.dismiss();
});
const url = pathToFileURL(process.argv[2]).href;
await page.goto(url, { waitUntil: 'load', timeout: 0 });

const shown = await page.evaluate(() => {
  const texts = (elements) => [...elements].map((element) => element.textContent);
  const holds = (outer, inner) =>
    inner.width > 0 && inner.left >= outer.left && inner.right <= outer.right && inner.top >= outer.top && inner.bottom <= outer.bottom;
  const section = (heading) => {
    const counts = heading.nextElementSibling;
    const plot = counts.nextElementSibling;
    const box = plot.getBoundingClientRect();
    const dots = [...plot.querySelectorAll('circle')].filter((dot) => holds(box, dot.getBoundingClientRect()));
    return { name: heading.textContent, counts: counts.firstElementChild.textContent, dots: dots.length };
  };
  return {
    title: document.title,
    rows: [...document.querySelectorAll('tbody tr')].map((row) => texts(row.cells).slice(0, 2)),
    sections: [...document.querySelectorAll('h2')].map(section),
    values: texts(document.querySelectorAll('li code')),
    active: document.querySelectorAll('script, img, link, iframe, object, embed').length,
  };
});
await browser.close();
process.stdout.write(JSON.stringify({ url, requests, complaints, ...shown }));
