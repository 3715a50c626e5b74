// SPDX-License-Identifier: Apache-2.0
/**
 * The programs that the test cluster is made of, each with its pinned version and where it comes from. The only list of
 * versions: `tools.ts` builds from it, CI keys its cache by it.
 *
 * Sources: the Go module proxy (programs built from their own modules) and Debian (packages unpacked, never installed).
 */

/** A program built by `go build` from a generated module that requires its source. */
export interface GoProgram {
  readonly source: 'go';
  readonly version: string;
  /** Import path of the main package. */
  readonly package: string;
  readonly module: GoModule;
  /** Extra linker settings: `importpath.variable` → value (`-X`). */
  readonly linkerValues?: Readonly<Record<string, string>>;
}

/** What go.mod of the generated module says. Programs that share a module share its dependency resolution. */
export interface GoModule {
  /** Folder name under the cache's `modules/`; unique per content. */
  readonly id: string;
  readonly require: Readonly<Record<string, string>>;
  readonly replace?: Readonly<Record<string, string>>;
  /** Every main package built from this module: the imports that `go mod tidy` resolves. */
  readonly packages: readonly string[];
}

/** A collector assembled by the OpenTelemetry Collector Builder (`ocb`) from a list of components. */
export interface CollectorProgram {
  readonly source: 'collector';
  readonly version: string;
  readonly components: Readonly<Record<'exporters' | 'processors' | 'receivers', readonly string[]>>;
}

/** A file of a Debian package of the running suite, unpacked with `dpkg -x`. */
export interface DebianProgram {
  readonly source: 'debian';
  /** Names the cache folder. The package's own version follows the suite's updates. */
  readonly version: string;
  readonly debianPackage: string;
  /** Path of the program (or folder) inside the package. */
  readonly path: string;
}

export type ToolRecipe = GoProgram | CollectorProgram | DebianProgram;

export const KUBERNETES_VERSION = 'v1.36.3';
const STAGING_VERSION = KUBERNETES_VERSION.replace('v1.', 'v0.');
const COLLECTOR_VERSION = 'v0.159.0';
const CONTAINERD_VERSION = 'v2.2.9';
const HELM_VERSION = 'v4.2.4';

/** k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them by folders, so each needs a replacement. */
const KUBERNETES_STAGING = `api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
  cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client cri-streaming
  csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager
  kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver sample-cli-plugin
  sample-controller streaming`.split(/\s+/);

const kubernetesModule: GoModule = {
  id: `kubernetes-${KUBERNETES_VERSION}`,
  require: { 'k8s.io/kubernetes': KUBERNETES_VERSION },
  replace: Object.fromEntries(KUBERNETES_STAGING.map((name) => [`k8s.io/${name}`, STAGING_VERSION])),
  packages: [
    ...['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kubectl'].map(
      (name) => `k8s.io/kubernetes/cmd/${name}`,
    ),
    // etcd at the version that this Kubernetes release is tested with (k8s.io/apiserver requires its server module).
    'go.etcd.io/etcd/server/v3',
  ],
};

/** `kubectl version` and Helm's capability checks read these. */
const kubernetesVersionValues = Object.fromEntries(
  ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((path) => [
    [`${path}.gitVersion`, KUBERNETES_VERSION],
    [`${path}.gitMajor`, '1'],
    [`${path}.gitMinor`, KUBERNETES_VERSION.split('.')[1]],
    [`${path}.gitTreeState`, 'clean'],
  ]),
);

const kubernetes = (name: string): GoProgram => ({
  source: 'go',
  version: KUBERNETES_VERSION,
  package: `k8s.io/kubernetes/cmd/${name}`,
  module: kubernetesModule,
  linkerValues: kubernetesVersionValues,
});

const containerdModule: GoModule = {
  id: `containerd-${CONTAINERD_VERSION}`,
  require: { 'github.com/containerd/containerd/v2': CONTAINERD_VERSION },
  packages: ['containerd', 'containerd-shim-runc-v2', 'ctr'].map(
    (name) => `github.com/containerd/containerd/v2/cmd/${name}`,
  ),
};

const containerd = (name: string): GoProgram => ({
  source: 'go',
  version: CONTAINERD_VERSION,
  package: `github.com/containerd/containerd/v2/cmd/${name}`,
  module: containerdModule,
  linkerValues: { 'github.com/containerd/containerd/v2/version.Version': CONTAINERD_VERSION },
});

/** A program that is its module's only one. */
function single(
  modulePath: string,
  version: string,
  packagePath: string,
  linkerValues?: Record<string, string>,
): GoProgram {
  const module: GoModule = {
    id: `${packagePath.slice(packagePath.lastIndexOf('/') + 1)}-${version}`,
    require: { [modulePath]: version },
    packages: [packagePath],
  };
  return { source: 'go', version, package: packagePath, module, linkerValues };
}

const debian = (debianPackage: string, path: string): DebianProgram => ({
  source: 'debian',
  version: 'debian',
  debianPackage,
  path,
});

/** In the order in which they are useful: what a control plane needs comes first. */
export const TOOLS = {
  'kube-apiserver': kubernetes('kube-apiserver'),
  etcd: {
    source: 'go',
    version: `for-${KUBERNETES_VERSION}`,
    package: 'go.etcd.io/etcd/server/v3',
    module: kubernetesModule,
  },
  kubectl: kubernetes('kubectl'),
  'kube-controller-manager': kubernetes('kube-controller-manager'),
  'kube-scheduler': kubernetes('kube-scheduler'),
  kubelet: kubernetes('kubelet'),
  containerd: containerd('containerd'),
  'containerd-shim-runc-v2': containerd('containerd-shim-runc-v2'),
  ctr: containerd('ctr'),
  runc: debian('runc', 'usr/sbin/runc'),
  'cni-plugins': debian('containernetworking-plugins', 'usr/lib/cni'),
  busybox: debian('busybox-static', 'bin/busybox'),
  helm: single('helm.sh/helm/v4', HELM_VERSION, 'helm.sh/helm/v4/cmd/helm', {
    'helm.sh/helm/v4/internal/version.version': HELM_VERSION,
  }),
  ocb: single(
    'go.opentelemetry.io/collector/cmd/builder',
    COLLECTOR_VERSION,
    'go.opentelemetry.io/collector/cmd/builder',
  ),
  otelcol: {
    source: 'collector',
    version: COLLECTOR_VERSION,
    components: {
      exporters: [
        'go.opentelemetry.io/collector/exporter/debugexporter',
        'go.opentelemetry.io/collector/exporter/otlpexporter',
        'go.opentelemetry.io/collector/exporter/otlphttpexporter',
        'github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter',
      ],
      processors: ['go.opentelemetry.io/collector/processor/memorylimiterprocessor'],
      receivers: ['go.opentelemetry.io/collector/receiver/otlpreceiver'],
    },
  },
  prometheus: debian('prometheus', 'usr/bin/prometheus'),
  promtool: debian('prometheus', 'usr/bin/promtool'),
} as const satisfies Record<string, ToolRecipe>;

export type ToolName = keyof typeof TOOLS;
