// Draws a dashboard with Grafana's own panels, from the answers of Prometheus to its queries. `render.mjs` bundles it for a browser.
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import {
  FieldType, createDataFrame, createTheme, dateTime, getDisplayProcessor, getDisplayValueAlignmentFactors,
  getFieldDisplayValues, standardTransformers,
  standardTransformersRegistry, transformDataFrame,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, Table, ThemeContext, TimeSeries, VizRepeater } from '@grafana/ui';
import { firstValueFrom } from 'rxjs';

const CELL = { width: 1600 / 24, height: 34, gap: 8 };
const theme = createTheme({ colors: { mode: 'dark' } });
const { mergeTransformer, organizeFieldsTransformer } = standardTransformers;
standardTransformersRegistry.setInit(() =>
  [mergeTransformer, organizeFieldsTransformer].map((one) => ({ id: one.id, name: one.name, transformation: one, editor: () => null })));

const legendOf = (format, labels) => (format === '__auto' ? '' : format.replace(/{{(\w+)}}/g, (_, label) => labels[label] ?? ''));

// The frames of one query, as the data source of Grafana makes them.
function framesOf(target, result, several) {
  const number = (text) => ({ '+Inf': Infinity, '-Inf': -Infinity }[text] ?? Number(text));
  if (target.format === 'table') {
    const labels = [...new Set(result.flatMap((one) => Object.keys(one.metric)))];
    const fields = [
      { name: 'Time', type: FieldType.time, values: result.map((one) => one.value[0] * 1000), config: {} },
      ...labels.map((name) => ({ name, type: FieldType.string, values: result.map((one) => one.metric[name]), config: {} })),
      { name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number, values: result.map((one) => number(one.value[1])), config: {} },
    ];
    return [createDataFrame({ refId: target.refId, fields })];
  }
  return result.map(({ metric, value, values = [value] }) => createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([time]) => time * 1000), config: {} },
      { name: 'Value', type: FieldType.number, values: values.map(([, text]) => number(text)), labels: metric,
        config: { displayNameFromDS: legendOf(target.legendFormat, metric) || undefined } },
    ],
  }));
}

// Applies the field options of the panel, with those of single columns.
function configured(frames, { defaults, overrides }) {
  const steps = (thresholds) => ({ ...thresholds, steps: thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity })) });
  let index = 0;
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      const config = { ...defaults, ...field.config, custom: { ...defaults.custom } };
      for (const { id, value } of overrides.filter((one) => one.matcher.options === field.name).flatMap((one) => one.properties)) {
        if (id.startsWith('custom.')) config.custom[id.slice(7)] = value;
        else config[id] = value;
      }
      config.thresholds = steps(config.thresholds);
      if (field.type === FieldType.time) delete config.unit;
      const shown = { ...field, config, state: { ...field.state, seriesIndex: field.type === FieldType.number ? index++ : undefined } };
      return { ...shown, display: getDisplayProcessor({ field: shown, theme, timeZone: 'utc' }) };
    }),
  }));
}

async function transformed(panel, answers) {
  const frames = panel.targets.flatMap((target, at) => framesOf(target, answers[at], panel.targets.length > 1));
  const raw = panel.transformations ? await firstValueFrom(transformDataFrame(panel.transformations, frames)) : frames;
  return configured(raw, panel.fieldConfig);
}

const displays = (panel, frames) => getFieldDisplayValues({
  data: frames, reduceOptions: panel.options.reduceOptions, fieldConfig: panel.fieldConfig, replaceVariables: (text) => text, theme, timeZone: 'utc',
});

function Values({ panel, frames, width, height, children }) {
  const getValues = () => displays(panel, frames);
  return (
    <VizRepeater getValues={getValues} getAlignmentFactors={getDisplayValueAlignmentFactors} source={frames} renderCounter={0} width={width} height={height} itemSpacing={3}
      orientation={panel.options.orientation} renderValue={({ value, width, height, count, alignmentFactors }) => (
        <div data-value={value.display.text}>{children(value.display, { width, height, count, alignmentFactors })}</div>
      )} />
  );
}

// Grafana keeps its timeline to itself: spans of one state, by the display values of the field.
function Timeline({ frames, range, width, height }) {
  const rows = frames.flatMap((frame) => frame.fields.filter((field) => field.type === FieldType.number).map((field) => ({ frame, field })));
  const rowHeight = Math.min(40, height / rows.length);
  const name = Math.min(220, width / 3);
  const at = (time) => ((time - range.from) / (range.to - range.from)) * (width - name);
  const spans = ({ frame, field }) => {
    const times = frame.fields[0].values;
    const step = times.length > 1 ? times[1] - times[0] : range.to - range.from;
    return field.values.reduce((spans, value, i) => {
      const last = spans.at(-1);
      if (last && last.value === value && times[i] - last.to <= step * 1.5) last.to = times[i] + step;
      else spans.push({ value, from: times[i], to: times[i] + step });
      return spans;
    }, []);
  };
  return rows.map((row, i) => (
    <div key={i} style={{ position: 'absolute', top: i * rowHeight, height: rowHeight, width, fontSize: 12, lineHeight: `${rowHeight}px` }}>
      <span>{row.field.config.displayNameFromDS}</span>
      {spans(row).map(({ value, from, to }) => {
        const { text, color } = row.field.display(value);
        const place = { position: 'absolute', top: 2, bottom: 2, overflow: 'hidden', paddingLeft: 4, left: name + at(from), width: at(to) - at(from) };
        return <div key={from} data-value={text} style={{ ...place, background: color, color: theme.colors.getContrastText(color) }}>{text}</div>;
      })}
    </div>
  ));
}

function Content({ panel, frames, range, width, height }) {
  const timeRange = { from: dateTime(range.from), to: dateTime(range.to), raw: { from: 'now-5m', to: 'now' } };
  switch (panel.type) {
    case 'stat':
      return (
        <Values {...{ panel, frames, width, height }}>
          {(value, place) => (
            <BigValue value={value} {...place} theme={theme} colorMode={panel.options.colorMode}
              graphMode="none" justifyMode="center" textMode={panel.options.textMode} wideLayout />
          )}
        </Values>
      );
    case 'bargauge':
      return (
        <Values {...{ panel, frames, width, height }}>
          {(value, { width, height, alignmentFactors }) => (
            <BarGauge value={value} width={width} height={height} alignmentFactors={alignmentFactors} theme={theme} field={configured(frames, panel.fieldConfig)[0].fields[1].config}
              displayMode="basic" orientation="horizontal" showUnfilled />
          )}
        </Values>
      );
    case 'state-timeline':
      return <Timeline {...{ frames, range, width, height }} />;
    case 'timeseries':
      return (
        <TimeSeries frames={frames} structureRev={1} timeRange={timeRange} timeZone="utc" width={width} height={height} legend={panel.options.legend} />
      );
    case 'table':
      return <Table data={frames[0]} width={width} height={height} />;
    default:
      throw new Error(`no panel of the type ${panel.type}`);
  }
}

function Place({ panel, children }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: x * CELL.width, top: y * (CELL.height + CELL.gap), width: w * CELL.width - CELL.gap };
  return <div style={place}>{children(w * CELL.width - CELL.gap, h * (CELL.height + CELL.gap) - CELL.gap)}</div>;
}

function Panel({ panel, frames, range }) {
  return (
    <Place panel={panel}>
      {(width, height) => (
        <section data-panel={panel.title}>
          <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
            {(width, height) => <div style={{ position: 'relative', width, height }}><Content {...{ panel, frames, range, width, height }} /></div>}
          </PanelChrome>
        </section>
      )}
    </Place>
  );
}

// Draws the dashboard into the page.
window.draw = async (dashboard, answers, range) => {
  const panels = await Promise.all(dashboard.panels.map(async (panel, at) => ({
    panel, frames: panel.type === 'row' ? [] : await transformed(panel, answers[at]),
  })));
  const rows = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
  const page = document.createElement('main');
  document.body.replaceChildren(page);
  Object.assign(page.style, { position: 'relative', height: `${rows * (CELL.height + CELL.gap)}px` });
  // Drawn at once; charts and tables measure themselves once more before the next picture of the browser.
  flushSync(() => createRoot(page).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {panels.map(({ panel, frames }) => (panel.type === 'row'
        ? <Place key={panel.id} panel={panel}>{() => <h4 style={{ padding: 8 }}>{panel.title}</h4>}</Place>
        : <Panel key={panel.id} panel={panel} frames={frames} range={range} />))}
    </ThemeContext.Provider>,
  ));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
};
