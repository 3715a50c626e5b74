// SPDX-License-Identifier: Apache-2.0
/** The few kinds of panels that the dashboards are made of, by Grafana's own schema (its foundation SDK). */
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  type DynamicConfigValue,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/** A variable of Grafana inside of a text. */
const variable = (name: string) => `\${${name}}`;

const DATASOURCE = { type: 'prometheus', uid: variable('datasource') };
export const TAG = 'plumbline';

/** Steps of a truncated ratio, the same everywhere: a default objective is one percent. */
const RATIO_STEPS = [
  { value: null, color: 'green' },
  { value: 0.01, color: 'orange' },
  { value: 0.05, color: 'red' },
];
/** Good at zero. */
const COUNT_STEPS = [
  { value: null, color: 'green' },
  { value: 1e-9, color: 'red' },
];
/** Of a sorted table: who has more looks at the dashboard of one. */
const MAX_ROWS = 30;
const PLAIN_STEPS = [{ value: null, color: 'blue' }];
const STEPS = { ratio: RATIO_STEPS, count: COUNT_STEPS, plain: PLAIN_STEPS };

/** Expression → how its series are called. */
export type Queries = Readonly<Record<string, string>>;

export interface PanelText {
  readonly title: string;
  /** What it tells, and where to go from there. */
  readonly description: string;
  /** Columns of 24, rows of about 30 pixels. */
  readonly width: number;
  readonly height: number;
}

const thresholds = (steps: keyof typeof STEPS) =>
  new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(STEPS[steps] as never);

/** Methods of every kind of panel. */
interface Panel {
  title(title: string): this;
  description(description: string): this;
  span(width: number): this;
  height(height: number): this;
  datasource(datasource: typeof DATASOURCE): this;
}

/** What every panel begins with. */
function begin<P extends Panel>(panel: P, { title, description, width, height }: PanelText): P {
  return panel.title(title).description(description).span(width).height(height).datasource(DATASOURCE);
}

/** Name of the query with this index within its panel: A, B, … */
const refId = (index: number) => String.fromCharCode(65 + index);
const query = (expr: string, index = 0) => new DataqueryBuilder().expr(expr).refId(refId(index));

/** One large number, or a name with it. */
export function stat(text: PanelText, expr: string, unit: string, steps: keyof typeof STEPS, name?: string) {
  return begin(new StatBuilder(), text)
    .unit(unit)
    .decimals(unit === 'percentunit' ? 1 : 0)
    .thresholds(thresholds(steps))
    .colorMode(name === undefined ? BigValueColorMode.Value : BigValueColorMode.Background)
    .graphMode(BigValueGraphMode.None)
    .textMode(name === undefined ? BigValueTextMode.Value : BigValueTextMode.ValueAndName)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .withTarget(
      query(expr)
        .instant()
        .legendFormat(name ?? ''),
    );
}

/** @param stacked how series lie on each other: not at all, by value, or as shares */
export function lines(text: PanelText, queries: Queries, unit: string, stacked: 'no' | 'value' | 'share' = 'no') {
  const stacking = { no: StackingMode.None, value: StackingMode.Normal, share: StackingMode.Percent }[stacked];
  const panel = begin(new TimeseriesBuilder(), text)
    .unit(unit)
    .min(0)
    .fillOpacity(stacked === 'no' ? 5 : 60)
    .stacking(new StackingConfigBuilder().mode(stacking))
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom),
    );
  Object.entries(queries).forEach(([expr, name], index) => {
    panel.withTarget(query(expr, index).range().legendFormat(name));
  });
  return panel;
}

export interface Column {
  readonly title: string;
  readonly unit: string;
  readonly colored?: boolean;
}

/**
 * One row for each set of labels; several expressions are joined by the labels that they share.
 * @param queries expression → column of its value; '' leaves the value out
 * @param labels label → title of its column, in order; others are left out
 * @param sortBy title of a column, largest first
 */
export function table(
  text: PanelText,
  queries: Readonly<Record<string, Column | ''>>,
  labels: Readonly<Record<string, string>>,
  sortBy?: string,
) {
  const panel = begin(new TableBuilder(), text).thresholds(thresholds('ratio'));
  const entries = Object.entries(queries);
  const rename: Record<string, string> = { ...labels };
  const indexByName: Record<string, number> = Object.fromEntries(Object.keys(labels).map((label, at) => [label, at]));
  entries.forEach(([expr, column], index) => {
    const field = entries.length === 1 ? 'Value' : `Value #${refId(index)}`;
    panel.withTarget(query(expr, index).instant().format(PromQueryFormat.Table));
    if (column === '') return;
    rename[field] = column.title;
    indexByName[field] = Object.keys(labels).length + index;
    panel.overrideByName(column.title, [
      { id: 'unit', value: column.unit },
      { id: 'decimals', value: column.unit === 'percentunit' ? 1 : 2 },
      ...(column.colored ? [{ id: 'custom.cellOptions', value: { type: 'color-background', mode: 'gradient' } }] : []),
    ]);
  });
  panel.withTransformation({ id: 'merge', options: {} });
  panel.withTransformation({ id: 'filterFieldsByName', options: { include: { names: Object.keys(indexByName) } } });
  panel.withTransformation({ id: 'organize', options: { excludeByName: {}, indexByName, renameByName: rename } });
  if (sortBy !== undefined)
    panel
      .withTransformation({ id: 'sortBy', options: { fields: {}, sort: [{ field: sortBy, desc: true }] } })
      .withTransformation({ id: 'limit', options: { limitField: MAX_ROWS } });
  return panel;
}

/**
 * Makes the cells of a column lead to the dashboard of what they name.
 * @param parameters variable of that dashboard → column of the same row that has its value
 */
export function link(uid: string, parameters: Readonly<Record<string, string>>): DynamicConfigValue {
  const query = Object.entries(parameters).map(
    ([name, column]) => `var-${name}=${variable(`__data.fields["${column}"]`)}`,
  );
  const url = `/d/${uid}?${[...query, variable('datasource:queryparam'), variable('__url_time_range')].join('&')}`;
  return { id: 'links', value: [{ title: 'Open its dashboard', url }] };
}

export const row = (title: string) => new RowBuilder(title);

/** A variable that is chosen from the values of a label. */
export function choice(name: string, label: string, query: string, all: boolean) {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query({ query, refId: name })
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .includeAll(all)
    .multi(all)
    .allValue('.*');
}

export function dashboard(uid: string, title: string, description: string): DashboardBuilder {
  return new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([TAG])
    .time({ from: 'now-3h', to: 'now' })
    .refresh('1m')
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .link(
      new DashboardLinkBuilder('Plumbline')
        .type(DashboardLinkType.Dashboards)
        .tags([TAG])
        .asDropdown(true)
        .includeVars(true)
        .keepTime(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'));
}
