// The module as Envoy sees it: its filters by their names, and what Envoy wants to find and we have no use for.

#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "edge.h"
#include "inference.h"
#include "limits.h"
#include "version.h"

typedef enum { INGRESS, SECOND_HOP, VERSION, BULKHEAD, BULKHEAD_OF_COPIES } kind;

static const kind kinds[] = {INGRESS, SECOND_HOP, VERSION, BULKHEAD, BULKHEAD_OF_COPIES};
static const char *const names_of[] = {"ingress", "second-hop", "version", "bulkhead", "bulkhead-of-copies"};

// What a filter keeps of a call.
typedef struct {
  kind of;
  bool ours;    // whether it is an inference, whose body we read or write
  bool tagged;  // whether the caller gave it an id of its own
  turn turn;    // of a bulkhead's
} stream;

static bool limits(const stream *call) { return call->of == BULKHEAD || call->of == BULKHEAD_OF_COPIES; }

static bool is(view text, const char *name) { return text.length == strlen(name) && !memcmp(text.ptr, name, text.length); }

const char *envoy_dynamic_module_on_program_init(void) { return ABI; }

// By the filter's name; NULL, so that Envoy refuses its configuration, for one that is unknown.
const void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, view name, view config) {
  (void)envoy, (void)config;
  for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
    if (is(name, names_of[n])) return &kinds[n];
  }
  return NULL;
}
void envoy_dynamic_module_on_http_filter_config_destroy(const void *config) { (void)config; }

// NULL, with which Envoy answers the call with an error, for want of memory.
void *envoy_dynamic_module_on_http_filter_new(const void *config, void *envoy) {
  (void)envoy;
  stream *call = calloc(1, sizeof *call);
  if (call != NULL) call->of = *(const kind *)config;
  return call;
}
void envoy_dynamic_module_on_http_filter_destroy(void *self) {
  stream *call = self;
  if (limits(call)) limits_on_end(&call->turn);
  free(call);
}

// Of a route, for a filter `bulkhead`: the model's name and its limits. NULL, so that Envoy refuses the routes, if they
// are none. It may be destroyed on any thread.
const void *envoy_dynamic_module_on_http_filter_per_route_config_new(view name, view config) {
  return room_of(name, config);
}
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *config) { free((void *)config); }

// Whether the call may go on to what is for inferences alone; if not, `status` is what Envoy is to do.
static bool enter(void *envoy, stream *call, int *status) {
  if (call->of == SECOND_HOP) {
    edge_on_second_hop(envoy);
  } else if (!edge_on_headers(envoy, &call->tagged)) {
    *status = STOP_HEADERS;
    return false;
  }
  call->ours = is_inference(envoy);
  if (call->ours) return true;
  inference_is_none(envoy);
  *status = CONTINUE_HEADERS;
  return false;
}

int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, void *self, bool end) {
  stream *call = self;
  int status;
  if (call->of == VERSION) return version_on_headers(envoy, &call->ours, end);
  if (limits(call)) return limits_on_headers(envoy, call->of == BULKHEAD_OF_COPIES, &call->turn);
  return enter(envoy, call, &status) ? inference_on_headers(envoy, call->of == SECOND_HOP, end) : status;
}
int envoy_dynamic_module_on_http_filter_request_body(void *envoy, void *self, bool end) {
  const stream *call = self;
  if (limits(call)) return limits_on_body(&call->turn);
  if (!call->ours) return CONTINUE_BODY;
  return call->of == VERSION ? version_on_body(envoy, end) : inference_on_body(envoy, call->of == SECOND_HOP, end);
}
int envoy_dynamic_module_on_http_filter_request_trailers(void *envoy, void *self) {
  const stream *call = self;
  if (limits(call)) return limits_on_trailers(&call->turn);
  if (!call->ours) return CONTINUE_HEADERS;
  return call->of == VERSION ? version_on_trailers(envoy) : inference_on_trailers(envoy, call->of == SECOND_HOP);
}

int envoy_dynamic_module_on_http_filter_response_headers(void *envoy, void *self, bool end) {
  (void)end;
  const stream *call = self;
  if (call->of == VERSION && call->ours) version_on_answer(envoy);
  if (call->of == INGRESS) edge_on_answer(envoy, call->tagged || !call->ours);
  return CONTINUE_HEADERS;
}
int envoy_dynamic_module_on_http_filter_response_body(void *envoy, void *self, bool end) {
  (void)envoy, (void)self, (void)end;
  return CONTINUE_BODY;
}
int envoy_dynamic_module_on_http_filter_response_trailers(void *envoy, void *self) {
  (void)envoy, (void)self;
  return CONTINUE_HEADERS;
}

void envoy_dynamic_module_on_http_filter_stream_complete(void *envoy, void *self) { (void)envoy, (void)self; }

void envoy_dynamic_module_on_http_filter_scheduled(void *envoy, void *self, uint64_t event) {
  (void)event;
  stream *call = self;
  limits_on_scheduled(envoy, &call->turn);
}

// We make no calls of our own and do not ask how fast a caller reads, so none of these is ever called;
// without one the module is not loaded.
void envoy_dynamic_module_on_http_filter_http_callout_done(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_headers(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_data(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_trailers(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_complete(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_reset(void) {}
void envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(void) {}
void envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(void) {}
