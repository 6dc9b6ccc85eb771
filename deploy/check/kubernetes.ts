// SPDX-License-Identifier: MIT
// What kubernetes-models lacks. Its types are those of what the API server answers: there an object may have no name
// and no spec, but a manifest without them is refused. The custom resources of the Prometheus operator have only the
// fields that a manifest here may need: add one after reading it up.

export type Manifest<T> = T & { metadata: Metadata } & Specified<T>;

// Needed where something in it is, and by kinds whose types say of nothing that it is.
type Specified<T> = T extends { kind: "NetworkPolicy" | "Service" } ? { spec: object }
	: T extends { spec?: infer Spec } ? object extends Spec ? unknown : { spec: NonNullable<Spec> }
	: unknown;

interface Metadata {
	annotations?: Record<string, string>;
	labels?: Record<string, string>;
	name: string;
	namespace?: string;
}

interface Selector {
	matchExpressions?: { key: string; operator: "In" | "NotIn" | "Exists" | "DoesNotExist"; values?: string[] }[];
	matchLabels?: Record<string, string>;
}

type Relabeling = {
	action?: "replace" | "keep" | "drop" | "hashmod" | "labelmap" | "labeldrop" | "labelkeep" | "lowercase" | "uppercase";
	modulus?: number;
	regex?: string;
	replacement?: string;
	separator?: string;
	sourceLabels?: string[];
	targetLabel?: string;
};

interface Endpoint {
	authorization?: { credentials: { key: string; name?: string; optional?: boolean }; type?: string };
	honorLabels?: boolean;
	honorTimestamps?: boolean;
	interval?: string;
	metricRelabelings?: Relabeling[];
	path?: string;
	port?: string;
	relabelings?: Relabeling[];
	scheme?: "http" | "https";
	scrapeTimeout?: string;
}

interface Monitor {
	attachMetadata?: { node?: boolean };
	jobLabel?: string;
	labelLimit?: number;
	namespaceSelector?: { any?: boolean; matchNames?: string[] };
	podTargetLabels?: string[];
	sampleLimit?: number;
	selector: Selector;
	targetLimit?: number;
}

export interface PodMonitor {
	apiVersion: "monitoring.coreos.com/v1";
	kind: "PodMonitor";
	spec: Monitor & { podMetricsEndpoints: (Endpoint & { filterRunning?: boolean; portNumber?: number })[] };
}

export interface ServiceMonitor {
	apiVersion: "monitoring.coreos.com/v1";
	kind: "ServiceMonitor";
	spec: Monitor & { endpoints: (Endpoint & { targetPort?: number | string })[]; targetLabels?: string[] };
}

interface Rule {
	annotations?: Record<string, string>;
	expr: number | string;
	for?: string;
	keep_firing_for?: string;
	labels?: Record<string, string>;
}

export interface PrometheusRule {
	apiVersion: "monitoring.coreos.com/v1";
	kind: "PrometheusRule";
	spec: {
		groups: {
			interval?: string;
			labels?: Record<string, string>;
			limit?: number;
			name: string;
			query_offset?: string;
			rules: (Rule & ({ alert: string } | { record: string; for?: never; annotations?: never }))[];
		}[];
	};
}
