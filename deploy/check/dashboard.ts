// SPDX-License-Identifier: MIT
// The type of a dashboard: Grafana's own, and where that says "anything", what this dashboard uses. Grafana's
// types of panels know their options; they leave queries, transformations, links and overrides open.
import type * as grafana from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// As it stands in JSON: the values of enums in place of their names.
type Plain<T> = unknown extends T ? T
	: T extends string ? `${T}`
	: T extends number | boolean | null | undefined ? T
	: T extends Array<infer Item> ? Plain<Item>[]
	: { [Key in keyof T]: Plain<T[Key]> };

interface Prometheus {
	type: "prometheus";
	uid: "${datasource}";
}

interface Query extends Omit<grafana.DataQuery, "datasource"> {
	datasource: Prometheus;
	editorMode: "code";
	expr: string;
	format?: "table" | "time_series";
	instant?: boolean;
	legendFormat: string;
	range: boolean;
}

interface Link {
	title: string;
	url: string;
}

type Transformation =
	| { id: "merge"; options: Record<string, never> }
	| {
		id: "organize";
		options: {
			excludeByName?: Record<string, boolean>;
			indexByName?: Record<string, number>;
			renameByName?: Record<string, string>;
		};
	};

// "custom" is what the panel adds to the fields that all panels have.
interface Field<Custom> extends Omit<Plain<grafana.FieldConfig>, "custom" | "links"> {
	custom?: Plain<Custom>;
	links?: Link[];
}

type Property<Fields, Prefix extends string> = {
	[Key in keyof Fields & string]-?: { id: `${Prefix}${Key}`; value: NonNullable<Fields[Key]> };
}[keyof Fields & string];

interface Override<Custom> {
	matcher: { id: "byName" | "byRegexp" | "byFrameRefID"; options: string };
	properties: (Property<Omit<Field<Custom>, "custom">, ""> | Property<Plain<Custom>, "custom.">)[];
}

interface Panel<Type extends string, Options, Custom>
	extends Omit<Plain<grafana.Panel>, "datasource" | "fieldConfig" | "options" | "targets" | "transformations" | "type"> {
	type: Type;
	id: number;
	title: string;
	description: string;
	gridPos: grafana.GridPos;
	datasource: Prometheus;
	fieldConfig: { defaults: Field<Custom>; overrides: Override<Custom>[] };
	options: Plain<Options>;
	targets: Query[];
	transformations?: Transformation[];
}

// A panel of another type than these has no type here: add it.
interface Panels {
	stat: Panel<"stat", stat.Options, object>;
	table: Panel<"table", table.Options, table.FieldConfig>;
	timeseries: Panel<"timeseries", timeseries.Options, timeseries.FieldConfig>;
	row: Omit<grafana.RowPanel, "panels"> & { gridPos: grafana.GridPos; panels: Exclude<AnyPanel, { type: "row" }>[] };
}
type AnyPanel = Panels[keyof Panels];

type Variable = Omit<Plain<grafana.VariableModel>, "query"> & {
	query: string | { qryType: number; query: string; refId: string };
};

export interface Dashboard extends Omit<Plain<grafana.Dashboard>, "panels" | "templating"> {
	panels: AnyPanel[];
	templating: { list: Variable[] };
	title: string;
	uid: string;
}
