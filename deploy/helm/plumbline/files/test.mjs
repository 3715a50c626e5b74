// SPDX-License-Identifier: Apache-2.0
// `helm test`: is the release whole and working? Ends with 0, or with 1 and a sentence for each thing that is not.
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';

const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port, NAMESPACE, NAME } = process.env;
const account = '/var/run/secrets/kubernetes.io/serviceaccount';
const read = (file) => readFileSync(`${account}/${file}`, 'utf8');

function get(path) {
  const headers = { authorization: `Bearer ${read('token')}`, accept: 'application/json' };
  return new Promise((resolve, reject) => {
    request({ host, port, path, headers, ca: read('ca.crt'), timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      response.on('end', () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`HTTP ${response.statusCode}`)),
      );
    })
      .on('timeout', function () {
        this.destroy(new Error('no answer within 10 s'));
      })
      .on('error', reject)
      .end();
  });
}

const checks = {
  'both kinds are served': async () => {
    const { resources } = await get('/apis/profiling.plumbline.dev/v1alpha1');
    const kinds = resources.map((resource) => resource.kind);
    const missing = ['ProfilingPolicy', 'NodeProfilingConfig'].filter((kind) => !kinds.includes(kind));
    return missing.length === 0 || `not served: ${missing.join(', ')}`;
  },
  'every agent is ready': async () => {
    const { status } = await get(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/${NAME}-agent`);
    const { desiredNumberScheduled: desired, numberReady: ready, updatedNumberScheduled: updated = 0 } = status;
    return (desired > 0 && ready === desired && updated === desired) || `${ready} of ${desired} ready, ${updated} updated`;
  },
  'the operator is ready': async () => {
    const { spec, status } = await get(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${NAME}-operator`);
    const { readyReplicas = 0, updatedReplicas = 0 } = status;
    const whole = readyReplicas === spec.replicas && updatedReplicas === spec.replicas;
    return whole || `${readyReplicas} of ${spec.replicas} ready, ${updatedReplicas} updated`;
  },
  'an operator leads': async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/plumbline-operator`;
    return Boolean((await get(path)).spec.holderIdentity) || 'nobody holds the lease';
  },
};

const deadline = Date.now() + 60_000;
let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  let answer;
  do {
    answer = await check().catch((error) => error.message);
    if (answer !== true) await delay(1000);
  } while (answer !== true && Date.now() < deadline);
  console.log(answer === true ? `ok: ${name}` : `FAILED: ${name}: ${answer}`);
  if (answer !== true) failed++;
}
process.exitCode = failed ? 1 : 0;
