#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "details.h"

view header_of(void *envoy, view name, size_t *count) {
  view value = {NULL, 0};
  envoy_dynamic_module_callback_http_get_header(envoy, REQUEST_HEADERS, name, &value, 0, count);
  return value;
}

void set_header(void *envoy, view name, view value) {
  envoy_dynamic_module_callback_http_set_header(envoy, REQUEST_HEADERS, name, value);
}

void add_header(void *envoy, view name, view value) {
  envoy_dynamic_module_callback_http_add_header(envoy, REQUEST_HEADERS, name, value);
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

void add_answer_header(void *envoy, view name, view value) {
  envoy_dynamic_module_callback_http_add_header(envoy, ANSWER_HEADERS, name, value);
}

static size_t slices_of(void *envoy, int which) {
  return envoy_dynamic_module_callback_http_get_body_chunks_size(envoy, which);
}

static bool holds_all(void *envoy, int last) {
  return last == BUFFERED_BODY || envoy_dynamic_module_callback_http_received_buffered_request_body(envoy);
}

size_t body_size(void *envoy, int last) {
  size_t before = holds_all(envoy, last) ? 0 : envoy_dynamic_module_callback_http_get_body_size(envoy, BUFFERED_BODY);
  return before + envoy_dynamic_module_callback_http_get_body_size(envoy, last);
}

bool open_body(void *envoy, int last, body *opened) {
  size_t before = holds_all(envoy, last) ? 0 : slices_of(envoy, BUFFERED_BODY), behind = slices_of(envoy, last);
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

bool is_grpc(void *envoy) { return is_grpc_type(header_of(envoy, TEXT("content-type"), NULL)); }

bool is_grpc_type(view type) {
  view grpc = TEXT("application/grpc");
  // of other types, also `application/grpc-web`, its own refusals are none that gRPC understands
  return type.length >= grpc.length && memcmp(type.ptr, grpc.ptr, grpc.length) == 0 &&
         (type.length == grpc.length || type.ptr[grpc.length] == '+');
}

enum { MOST_MORE = 8 };

// The id as a header of an answer that we make, which no other filter of ours sees. False where there is none yet.
static bool id_of(void *envoy, header *made_of) {
  view name = TEXT("x-request-id"), id = header_of(envoy, name, NULL);
  *made_of = (header){name.ptr, name.length, id.ptr, id.length};
  return id.ptr != NULL;
}

static size_t add(header *all, size_t count, const header *more, size_t more_count) {
  for (size_t n = 0; n < more_count && n < MOST_MORE; n++) all[count++] = more[n];
  return count;
}

static uint32_t http_status_of(int status) {
  switch (status) {
    case INVALID_ARGUMENT: return 400;
    case UNAUTHENTICATED: return 401;
    case PERMISSION_DENIED: return 403;
    case NOT_FOUND: return 404;
    case RESOURCE_EXHAUSTED: return 429;
    case UNIMPLEMENTED: return 501;
    default: return 500;
  }
}

void refuse_with(void *envoy, int status, const char *reason, const char *message, const header *more, size_t count) {
  if (!is_grpc(envoy)) {
    view text = {(char *)message, strlen(message)}, details = {(char *)reason, strlen(reason)};
    refuse_plainly(envoy, http_status_of(status), text, details, more, count);
    return;
  }
  char number[4], room[DETAILS_ROOM];
  snprintf(number, sizeof number, "%d", status);
  view details = details_of(status, reason, message, room);
  header headers[6 + MOST_MORE] = {
      made(":status", "200"),
      made("content-type", "application/grpc"),
      made("grpc-status", number),
      made("grpc-message", message),
      {"grpc-status-details-bin", 23, details.ptr, details.length},
  };
  size_t said = id_of(envoy, &headers[5]) ? 6 : 5;
  said = add(headers, said, more, count);
  envoy_dynamic_module_callback_http_send_response_headers(envoy, headers, said, true);
}

void refuse(void *envoy, int status, const char *reason, const char *message) {
  refuse_with(envoy, status, reason, message, NULL, 0);
}

void refuse_plainly(void *envoy, uint32_t http_status, view text, view details, const header *more, size_t count) {
  header headers[1 + MOST_MORE];
  size_t said = id_of(envoy, &headers[0]) ? 1 : 0;
  said = add(headers, said, more, count);
  envoy_dynamic_module_callback_http_send_response(envoy, http_status, headers, said, text, details);
}

void fail(void *envoy, const char *message) {
  header status = made("grpc-status", "13");
  view text = {(char *)message, strlen(message)};
  envoy_dynamic_module_callback_http_send_response(envoy, 500, &status, 1, text, TEXT("penstock"));
}
