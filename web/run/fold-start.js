/** What runs, on which rows, and its memory: what the plan predicted, and what was measured. */

/** `run.start`: the head of the run, its planned learning rates and its predicted memory. */
export function takeStart(run, event) {
  const { config, versions, hardware, model, data, recipe, plan } = event;
  run.start = {
    config,
    versions,
    hardware,
    model: model ?? {},
    data: data ?? {},
    recipe: recipe ?? {},
    bytesPerParameter: event.bytes_per_parameter ?? null,
    source: event.source ?? "",
    tool: event.tool ?? "",
    lacks: event.lacks ?? [],
    meanings: Object.assign(Object.create(null), event.meanings),
    price: event.price ?? null, // {hourly, currency, per}
    trainer: event.source === "watched" ? (event.trainer ?? "a loop of its own") : "",
    can: event.can ?? null, // what may be asked of it; null: everything
  };
  takePlan(run, plan);
  takePredicted(run, event);
}

/** `run.start`, or `predicted` where it is known later: the newest one counts. */
export function takePredicted(run, { predicted, bytes_per_parameter: each }) {
  if (run.start && each !== undefined) run.start.bytesPerParameter = each;
  run.memory.predicted = Object.assign(Object.create(null), predicted?.instants);
  run.memory.peakInstant = predicted?.peak_instant ?? "";
  run.memory.peakBytes = predicted?.peak_bytes ?? 0;
}

/** How many steps, and the rate at each: of `run.start`, or of a `run.resume` that changed them. */
export function takePlan(run, plan) {
  run.plan = { steps: plan?.steps ?? 0, lr: plan?.lr ?? [], x: plan?.lr_steps ?? [] };
}

const INSTANT_LIMIT = 16; // a step of ours has five

/** `mem`: of every instant the largest measurement is kept, as the peak is what must fit. */
export function takeMemory(run, { step, instant, components, total_bytes: bytes, source }) {
  const { measured } = run.memory;
  const before = measured[instant];
  if (before && before.bytes >= bytes) return;
  if (!before && Object.keys(measured).length === INSTANT_LIMIT) return void (run.unknownSeries += 1);
  measured[instant] = { step, components: components ?? {}, bytes, source };
}

const OF_ROWS = "how counts trained_ratio repeated_first notes ends lengths padding first scored".split(" ");

/** `rows`: what is trained. What a later one tells is added, or takes the place of what was told. */
export function takeRows(run, event) {
  const told = OF_ROWS.filter((name) => event[name] !== undefined).map((name) => [name, event[name]]);
  run.rows = { ...run.rows, ...Object.fromEntries(told) };
}
