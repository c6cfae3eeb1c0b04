// What the filters use of Envoy's interface for dynamic modules, as Envoy 1.40 has it.
//
// A module says which interface it was made for (ABI), Envoy looks its functions up by name. Everything of Envoy's
// that a pointer leads to belongs to Envoy and is good until the function that was called returns.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABI "v1.40.0"

typedef struct {
  char *ptr;
  size_t length;
} view;

typedef struct {
  const char *key;
  size_t key_length;
  const char *value;
  size_t value_length;
} header;

// What a function says of the iteration over the filters. Bodies and headers have lists of their own.
enum { CONTINUE_HEADERS = 0, STOP_HEADERS = 1 };
enum { CONTINUE_BODY = 0, STOP_AND_BUFFER = 1, STOP_AND_DROP = 3 };

enum { REQUEST_HEADERS = 0, ANSWER_HEADERS = 2 };
enum { RECEIVED_BODY = 0, BUFFERED_BODY = 1 };  // the piece that has just come; all that was kept back before
enum { LOG_ERROR = 4 };

// `count` gets the number of values that the header has; may be NULL.
bool envoy_dynamic_module_callback_http_get_header(void *envoy, int where, view name, view *value, size_t index,
                                                   size_t *count);
size_t envoy_dynamic_module_callback_http_get_headers_size(void *envoy, int where);
// Fills as many as the size says.
bool envoy_dynamic_module_callback_http_get_headers(void *envoy, int where, header *all);
// A value of NULL removes the header.
bool envoy_dynamic_module_callback_http_set_header(void *envoy, int where, view name, view value);
// Beside those there are; without looking for them, which costs as much again.
bool envoy_dynamic_module_callback_http_add_header(void *envoy, int where, view name, view value);
size_t envoy_dynamic_module_callback_http_get_body_size(void *envoy, int which);
size_t envoy_dynamic_module_callback_http_get_body_chunks_size(void *envoy, int which);
// Whether what has just come is all that another filter kept back, under its other name.
bool envoy_dynamic_module_callback_http_received_buffered_request_body(void *envoy);
// The bytes may be written to.
bool envoy_dynamic_module_callback_http_get_body_chunks(void *envoy, int which, view *slices);
bool envoy_dynamic_module_callback_http_append_body(void *envoy, int which, view bytes);
void envoy_dynamic_module_callback_http_send_response_headers(void *envoy, header *headers, size_t count, bool end);
// As Envoy answers by itself: `details` are for the record.
void envoy_dynamic_module_callback_http_send_response(void *envoy, uint32_t status, header *headers, size_t count,
                                                      view text, view details);
// How many bytes of a body may be kept back, at most.
void envoy_dynamic_module_callback_http_set_buffer_limit(void *envoy, uint64_t bytes);
void envoy_dynamic_module_callback_http_clear_route_cache(void *envoy);
// What was made of the configuration that the call's route has for this filter, by its name in the listener; NULL where
// the route has none.
const void *envoy_dynamic_module_callback_get_most_specific_route_config(void *envoy);
void envoy_dynamic_module_callback_http_filter_continue_decoding(void *envoy);
// Tells the filter of `event` on its own thread, if it is still there; may be called from any thread.
void *envoy_dynamic_module_callback_http_filter_scheduler_new(void *envoy);
void envoy_dynamic_module_callback_http_filter_scheduler_commit(void *scheduler, uint64_t event);
void envoy_dynamic_module_callback_http_filter_scheduler_delete(void *scheduler);
// Counters have an id each, and so many labels. While a configuration is made only.
int envoy_dynamic_module_callback_http_filter_config_define_counter(void *config, view name, view *labels, size_t count,
                                                                    size_t *id);
int envoy_dynamic_module_callback_http_filter_increment_counter(void *envoy, size_t id, view *values, size_t count,
                                                                uint64_t by);
void envoy_dynamic_module_callback_log(int level, view text);
