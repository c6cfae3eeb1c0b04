// The module as Envoy sees it: its filters by their names, and what Envoy wants to find and we have no use for.

#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "edge.h"
#include "inference.h"
#include "limits.h"
#include "version.h"

typedef enum { INGRESS, SECOND_HOP, COPIES, VERSION } kind;

// A filter's configuration: which one it is, what the one at the ingress knows of callers, what counts refusals of bulkheads.
typedef struct {
  kind of;
  gate at;
  size_t refusals;
} filter;

static const char *const names_of[] = {"ingress", "second-hop", "copies", "version"};

// What a filter keeps of a call.
typedef struct {
  const filter *in;
  bool ours;  // whether it is an inference, whose body we read or write
  visit made;
  turn turn;
} stream;

static bool is(view text, const char *name) { return text.length == strlen(name) && !memcmp(text.ptr, name, text.length); }

const char *envoy_dynamic_module_on_program_init(void) { return ABI; }

void envoy_dynamic_module_on_http_filter_config_destroy(void *config);

static bool open_gate(gate *at, void *envoy, view config) {
  view reason = TEXT("reason"), labels[] = {TEXT("limit"), TEXT("tenant"), TEXT("outcome")};
  at->known = read_access(config);
  return at->known != NULL &&
         envoy_dynamic_module_callback_http_filter_config_define_counter(
             envoy, TEXT("penstock_edge_refusals_total"), &reason, 1, &at->refusals) == 0 &&
         envoy_dynamic_module_callback_http_filter_config_define_counter(
             envoy, TEXT("penstock_edge_limited_total"), labels, 3, &at->limited) == 0;
}

static bool open_bulkhead(size_t *refusals, void *envoy) {
  view labels[] = {TEXT("model"), TEXT("class")};
  return envoy_dynamic_module_callback_http_filter_config_define_counter(
             envoy, TEXT("penstock_bulkhead_refusals_total"), labels, 2, refusals) == 0;
}

static bool prepare(filter *made, void *envoy, view config) {
  if (made->of == INGRESS && !open_gate(&made->at, envoy, config)) return false;
  return made->of == VERSION || open_bulkhead(&made->refusals, envoy);
}

// By the filter's name; NULL, so that Envoy refuses its configuration, for one that is unknown or cannot be read.
void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, view name, view config) {
  size_t of = 0, kinds = sizeof names_of / sizeof *names_of;
  while (of < kinds && !is(name, names_of[of])) of++;
  filter *made = of == kinds ? NULL : calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->of = (kind)of;
  if (prepare(made, envoy, config)) return made;
  envoy_dynamic_module_on_http_filter_config_destroy(made);
  return NULL;
}
void envoy_dynamic_module_on_http_filter_config_destroy(void *config) {
  filter *made = config;
  forget_access(made->at.known);
  free(made);
}

// NULL, with which Envoy answers the call with an error, for want of memory.
void *envoy_dynamic_module_on_http_filter_new(void *config, void *envoy) {
  (void)envoy;
  stream *call = calloc(1, sizeof *call);
  if (call != NULL) call->in = config;
  return call;
}
void envoy_dynamic_module_on_http_filter_destroy(void *self) {
  stream *call = self;
  limits_on_end(&call->turn);
  free(call);
}

// Of a route: the model's name and the way of its calls. NULL, so that Envoy refuses the routes, if it is none. It may be destroyed on any thread.
const void *envoy_dynamic_module_on_http_filter_per_route_config_new(view name, view config) {
  return way_of(name, config);
}
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *config) { free((void *)config); }

// Whether the call may go on to what is for inferences alone; if not, `status` is what Envoy is to do.
static bool enter(void *envoy, stream *call, int *status) {
  bool second = call->in->of == SECOND_HOP;
  if (second ? !edge_on_second_hop(envoy, &call->made) : !edge_on_headers(envoy, &call->in->at, &call->made)) {
    *status = STOP_HEADERS;
    return false;
  }
  call->ours = call->made.infers;
  if (call->ours) return true;
  inference_is_none(envoy);
  *status = CONTINUE_HEADERS;
  return false;
}

// A copy is one from the start, and never waits: it has its place, or none, before its message is here.
static int copy_on_headers(void *envoy, stream *call, bool end) {
  const way *by = envoy_dynamic_module_callback_get_most_specific_route_config(envoy);
  if (by == NULL) return CONTINUE_HEADERS;
  call->ours = true;
  if (limits_on_call(envoy, &by->in, call->in->refusals, true, 0, &call->turn) != INSIDE) return STOP_HEADERS;
  return end ? CONTINUE_HEADERS : inference_awaited(envoy);
}

// All of the call is here and its route is chosen. Where there is none for inferences, a door of a service is to refuse it.
static standing set_out(void *envoy, stream *call, int last) {
  const way *by = envoy_dynamic_module_callback_get_most_specific_route_config(envoy);
  if (by == NULL) return INSIDE;
  standing now = INSIDE;
  if (call->in->of != COPIES) {
    now = limits_on_call(envoy, &by->in, call->in->refusals, false, body_size(envoy, last), &call->turn);
  }
  return now == OUTSIDE || version_on_call(envoy, by, last) ? now : OUTSIDE;
}

static void answer(void *envoy, const stream *call) {
  if (call->in->of == VERSION) {
    attempt_on_answer(envoy);
    return;
  }
  const way *by = envoy_dynamic_module_callback_get_most_specific_route_config(envoy);
  if (by != NULL) version_on_answer(envoy, by);
}

int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, void *self, bool end) {
  stream *call = self;
  int status;
  if (call->in->of == VERSION) return attempt_on_headers(envoy, &call->ours, end);
  if (call->in->of == COPIES) return copy_on_headers(envoy, call, end);
  if (!enter(envoy, call, &status)) return status;
  return inference_on_headers(envoy, call->made.grpc, call->in->of == SECOND_HOP, end);
}
int envoy_dynamic_module_on_http_filter_request_body(void *envoy, void *self, bool end) {
  stream *call = self;
  if (!call->ours) return CONTINUE_BODY;
  if (call->in->of == VERSION) return attempt_on_body(envoy, end);
  if (call->in->of != COPIES) {
    int status = inference_on_body(envoy, call->in->of == SECOND_HOP, end);
    if (status != CONTINUE_BODY) return status;
  } else if (!end) {
    return STOP_AND_BUFFER;
  }
  static const int then[] = {[INSIDE] = CONTINUE_BODY, [WAITING] = STOP_AND_BUFFER, [OUTSIDE] = STOP_AND_DROP};
  return then[set_out(envoy, call, RECEIVED_BODY)];
}
int envoy_dynamic_module_on_http_filter_request_trailers(void *envoy, void *self) {
  stream *call = self;
  if (!call->ours) return CONTINUE_HEADERS;
  if (call->in->of == VERSION) return attempt_on_trailers(envoy);
  if (call->in->of != COPIES) {
    int status = inference_on_trailers(envoy, call->in->of == SECOND_HOP);
    if (status != CONTINUE_HEADERS) return status;
  }
  return set_out(envoy, call, BUFFERED_BODY) == INSIDE ? CONTINUE_HEADERS : STOP_HEADERS;
}

int envoy_dynamic_module_on_http_filter_response_headers(void *envoy, void *self, bool end) {
  (void)end;
  const stream *call = self;
  if (call->ours) answer(envoy, call);
  if (call->in->of == INGRESS) edge_on_answer(envoy, &call->made, !call->ours);
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
  (void)self, (void)event;
  limits_on_turn(envoy);
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
