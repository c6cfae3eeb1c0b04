#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

view header_of(void *envoy, view name, size_t *count) {
  view value = {NULL, 0};
  envoy_dynamic_module_callback_http_get_header(envoy, REQUEST_HEADERS, name, &value, 0, count);
  return value;
}

void set_header(void *envoy, view name, view value) {
  envoy_dynamic_module_callback_http_set_header(envoy, REQUEST_HEADERS, name, value);
}

void remove_header(void *envoy, view name) {
  envoy_dynamic_module_callback_http_set_header(envoy, REQUEST_HEADERS, name, (view){NULL, 0});
}

view answer_header_of(void *envoy, view name) {
  view value = {NULL, 0};
  envoy_dynamic_module_callback_http_get_header(envoy, ANSWER_HEADERS, name, &value, 0, NULL);
  return value;
}

void set_answer_header(void *envoy, view name, view value) {
  envoy_dynamic_module_callback_http_set_header(envoy, ANSWER_HEADERS, name, value);
}

static size_t slices_of(void *envoy, int which) {
  return envoy_dynamic_module_callback_http_get_body_chunks_size(envoy, which);
}

bool open_body(void *envoy, int last, body *opened) {
  bool all_in_last = last == BUFFERED_BODY || envoy_dynamic_module_callback_http_received_buffered_request_body(envoy);
  size_t before = all_in_last ? 0 : slices_of(envoy, BUFFERED_BODY), behind = slices_of(envoy, last);
  opened->count = before + behind;
  opened->slices = opened->few;
  if (opened->count > sizeof opened->few / sizeof *opened->few) {
    opened->slices = malloc(opened->count * sizeof *opened->slices);
    if (opened->slices == NULL) return false;
  }
  if (before > 0) envoy_dynamic_module_callback_http_get_body_chunks(envoy, BUFFERED_BODY, opened->slices);
  if (behind > 0) envoy_dynamic_module_callback_http_get_body_chunks(envoy, last, opened->slices + before);
  return true;
}

void close_body(body *opened) {
  if (opened->slices != opened->few) free(opened->slices);
}

static header made(const char *key, const char *value) {
  return (header){key, strlen(key), value, strlen(value)};
}

// The id as a header of an answer that we make, which no other filter sees. False where there is none yet.
static bool id_of(void *envoy, header *made_of) {
  view name = TEXT("x-request-id"), id = header_of(envoy, name, NULL);
  *made_of = (header){name.ptr, name.length, id.ptr, id.length};
  return id.ptr != NULL;
}

void refuse(void *envoy, int status, const char *message) {
  char number[4];
  snprintf(number, sizeof number, "%d", status);
  header headers[5] = {
      made(":status", "200"),
      made("content-type", "application/grpc"),
      made("grpc-status", number),
      made("grpc-message", message),
  };
  size_t count = id_of(envoy, &headers[4]) ? 5 : 4;
  envoy_dynamic_module_callback_http_send_response_headers(envoy, headers, count, true);
}

void refuse_plainly(void *envoy, uint32_t http_status, view text, view details) {
  header id;
  size_t count = id_of(envoy, &id) ? 1 : 0;
  envoy_dynamic_module_callback_http_send_response(envoy, http_status, &id, count, text, details);
}

void fail(void *envoy, const char *message) {
  header status = made("grpc-status", "13");
  view text = {(char *)message, strlen(message)};
  envoy_dynamic_module_callback_http_send_response(envoy, 500, &status, 1, text, TEXT("penstock"));
}
