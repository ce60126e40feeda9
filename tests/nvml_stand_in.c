/* What libnvidia-ml.so.1 answers, for machines without a GPU: the functions that the runner asks,
 * as the NVML API reference describes them. NVML_STAND_IN names a file that is read at every call:
 *
 *     init CODE                                        what nvmlInit returns
 *     gpu UUID NAME MEMORY BUSY POWER TEMPERATURE REASONS   bytes, %, mW, °C, bits; -N is error N
 *     process CARD PID BYTES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { MEMORY, BUSY, POWER, TEMPERATURE, REASONS, ANSWERS };
enum { MOST = 16 };

struct gpu {
  char uuid[80], name[64];
  long long answers[ANSWERS];
};
struct process {
  int gpu, pid;
  unsigned long long bytes;
};
static struct gpu gpus[MOST];
static struct process processes[MOST];
static int init, count, running;

static void look(void) {
  char line[512];
  const char *path = getenv("NVML_STAND_IN");
  FILE *file = path ? fopen(path, "r") : NULL;
  init = 9, count = running = 0; /* no driver */
  if (!file) return;
  while (fgets(line, sizeof line, file)) {
    struct gpu *c = &gpus[count];
    struct process *p = &processes[running];
    long long *a = c->answers;
    if (sscanf(line, "init %d", &init) == 1) continue;
    if (count < MOST && sscanf(line, "gpu %79s %63s %lld %lld %lld %lld %lld", c->uuid, c->name, a,
                               a + 1, a + 2, a + 3, a + 4) == 7)
      count++;
    if (running < MOST && sscanf(line, "process %d %d %llu", &p->gpu, &p->pid, &p->bytes) == 3)
      running++;
  }
  fclose(file);
}

static int answer(void *device, int what, long long *value) {
  size_t index = (size_t)device - 1;
  look();
  if (index >= (size_t)count) return INVALID;
  *value = gpus[index].answers[what];
  return *value < 0 ? (int)-*value : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags, look(); return init; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
  switch (code) {
    case 3: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
  }
}

int nvmlDeviceGetCount_v2(unsigned *found) { look(); *found = count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  look();
  if (index >= (unsigned)count) return INVALID;
  *device = (void *)(size_t)(index + 1);
  return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  look();
  for (int i = 0; i < count; i++)
    if (!strcmp(gpus[i].uuid, uuid)) return *device = (void *)(size_t)(i + 1), SUCCESS;
  return NOT_FOUND;
}

static int text(void *device, char *out, unsigned length, size_t offset) {
  size_t index = (size_t)device - 1;
  look();
  if (index >= (size_t)count) return INVALID;
  snprintf(out, length, "%s", (const char *)&gpus[index] + offset);
  return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *out, unsigned length) { return text(device, out, length, 0); }
int nvmlDeviceGetName(void *device, char *out, unsigned length) { return text(device, out, length, 80); }

int nvmlDeviceGetMemoryInfo_v2(void *device, void *out) {
  struct { unsigned version; unsigned long long total, reserved, free, used; } *info = out;
  long long used = 0;
  int code = answer(device, MEMORY, &used);
  info->used = code ? 0 : used;
  return code;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned out[2]) {
  long long busy = 0;
  int code = answer(device, BUSY, &busy);
  out[0] = code ? 0 : busy, out[1] = 0;
  return code;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
  long long power = 0;
  int code = answer(device, POWER, &power);
  return *out = code ? 0 : power, code;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out) {
  long long heat = 0;
  int code = answer(device, TEMPERATURE, &heat);
  return (void)sensor, *out = code ? 0 : heat, code;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *out) {
  long long reasons = 0;
  int code = answer(device, REASONS, &reasons);
  return *out = code ? 0 : reasons, code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *found, void *out) {
  struct { unsigned pid; unsigned long long bytes; unsigned gpu, compute; } *infos = out;
  unsigned room = *found, wanted = 0;
  look();
  for (int i = 0; i < running; i++) {
    if (processes[i].gpu + 1 != (int)(size_t)device) continue;
    if (wanted < room && infos) infos[wanted].pid = processes[i].pid, infos[wanted].bytes = processes[i].bytes;
    wanted++;
  }
  *found = wanted;
  return wanted > room ? TOO_SMALL : SUCCESS;
}
