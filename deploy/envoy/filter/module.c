// The module as Envoy sees it: two filters by their names, and what Envoy wants to find and we have no use for.

#include <string.h>

#include "abi.h"
#include "inference.h"
#include "version.h"

// A filter keeps nothing of a call: its configuration is all there is to it.
typedef struct {
  enum { INFERENCE, VERSION } kind;
  bool mesh;
} filter;

static filter at_ingress = {INFERENCE, false}, at_mesh = {INFERENCE, true}, to_triton = {VERSION, false};

static bool is(view text, const char *name) { return text.length == strlen(name) && !memcmp(text.ptr, name, text.length); }

const char *envoy_dynamic_module_on_program_init(void) { return ABI; }

// By the filter's name; NULL, so that Envoy refuses its configuration, for one that is unknown.
void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, view name, view config) {
  (void)envoy, (void)config;
  if (is(name, "inference")) return &at_ingress;
  if (is(name, "inference-mesh")) return &at_mesh;
  return is(name, "version") ? &to_triton : NULL;
}
void envoy_dynamic_module_on_http_filter_config_destroy(void *config) { (void)config; }
void *envoy_dynamic_module_on_http_filter_new(void *config, void *envoy) {
  (void)envoy;
  return config;
}
void envoy_dynamic_module_on_http_filter_destroy(void *self) { (void)self; }

int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, void *self, bool end) {
  filter *of = self;
  return of->kind == INFERENCE ? inference_on_headers(envoy, of->mesh, end) : version_on_headers(envoy, end);
}
int envoy_dynamic_module_on_http_filter_request_body(void *envoy, void *self, bool end) {
  filter *of = self;
  return of->kind == INFERENCE ? inference_on_body(envoy, of->mesh, end) : version_on_body(envoy, end);
}
int envoy_dynamic_module_on_http_filter_request_trailers(void *envoy, void *self) {
  filter *of = self;
  return of->kind == INFERENCE ? inference_on_trailers(envoy, of->mesh) : version_on_trailers(envoy);
}

int envoy_dynamic_module_on_http_filter_response_headers(void *envoy, void *self, bool end) {
  (void)end;
  const filter *of = self;
  return of->kind == VERSION ? version_on_answer(envoy) : CONTINUE_HEADERS;
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

// We make no calls of our own, set no timers and do not ask how fast a caller reads, so none of these is ever called;
// without one the module is not loaded.
void envoy_dynamic_module_on_http_filter_scheduled(void) {}
void envoy_dynamic_module_on_http_filter_http_callout_done(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_headers(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_data(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_trailers(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_complete(void) {}
void envoy_dynamic_module_on_http_filter_http_stream_reset(void) {}
void envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(void) {}
void envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(void) {}
