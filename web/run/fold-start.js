/** The two events that carry memory: what the plan predicted, and what was measured. */

/** `run.start`: the head of the run, its planned learning rates and its predicted memory. */
export function takeStart(run, event) {
  const { config, versions, hardware, model, data, recipe, predicted, plan } = event;
  run.start = {
    config,
    versions,
    hardware,
    model: model ?? {},
    data: data ?? {},
    recipe: recipe ?? {},
    bytesPerParameter: event.bytes_per_parameter ?? null,
  };
  run.plan = { steps: plan?.steps ?? 0, lr: plan?.lr ?? [], x: plan?.lr_steps ?? [] };
  run.memory.predicted = predicted?.instants ?? {};
  run.memory.peakInstant = predicted?.peak_instant ?? "";
  run.memory.peakBytes = predicted?.peak_bytes ?? 0;
}

/** `mem`: of every instant the largest measurement is kept, as the peak is what must fit. */
export function takeMemory(run, { step, instant, components, total_bytes: bytes, source }) {
  const before = run.memory.measured[instant];
  if (before && before.bytes >= bytes) return;
  run.memory.measured[instant] = { step, components: components ?? {}, bytes, source };
}
