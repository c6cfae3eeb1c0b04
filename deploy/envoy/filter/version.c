#include "version.h"

#include <stdlib.h>
#include <string.h>

#include "call.h"

#define CHAIN TEXT("x-penstock-chain")
#define VERSION TEXT("x-penstock-model-version")
#define DEGRADED TEXT("x-penstock-degraded")
#define FAULT "the version could not be written into the message"

enum { MOST_ANSWER_HEADERS = 32 };

static unsigned long attempt_of(void *envoy) {
  view text = header_of(envoy, TEXT("x-envoy-attempt-count"), NULL);
  unsigned long number = 0;
  for (size_t n = 0; n < text.length && n < 9; n++) {
    if (text.ptr[n] < '0' || text.ptr[n] > '9') return 0;
    number = number * 10 + (unsigned long)(text.ptr[n] - '0');
  }
  return number;
}

// Whether attempt `number` asks for another version than the first one does. False where either cannot be told.
static bool fell_back(view chain, unsigned long number, target *asked) {
  target first;
  if (number <= 1 || !target_of(chain, number, asked) || !target_of(chain, 1, &first)) return false;
  return asked->size != first.size || memcmp(asked->fields, first.fields, asked->size) != 0;
}

// A message that asks for something already asks for the last that is written into it.
static bool write_target(void *envoy, int last, const target *asked) {
  body all;
  bool written = open_body(envoy, last, &all) && lengthen_frame(all.slices, all.count, asked->size) &&
                 envoy_dynamic_module_callback_http_append_body(
                     envoy, last, (view){(char *)asked->fields, asked->size});
  close_body(&all);
  if (!written) envoy_dynamic_module_callback_log(LOG_ERROR, TEXT("penstock: " FAULT));
  return written;
}

bool version_on_call(void *envoy, const way *by, int last) {
  if (by->chain.ptr == NULL) return true;
  if (!write_target(envoy, last, &by->first)) {
    refuse(envoy, INTERNAL, "INTERNAL", FAULT);
    return false;
  }
  add_header(envoy, CHAIN, by->chain);
  return true;
}

// Whether a later attempt has said its own. All of an answer's few headers are read: to look for one, Envoy makes a map first.
static bool has_said_version(void *envoy) {
  header all[MOST_ANSWER_HEADERS];
  size_t count = envoy_dynamic_module_callback_http_get_headers_size(envoy, ANSWER_HEADERS);
  if (count > MOST_ANSWER_HEADERS) return answer_header_of(envoy, VERSION).ptr != NULL;
  view name = VERSION;
  envoy_dynamic_module_callback_http_get_headers(envoy, ANSWER_HEADERS, all);
  for (size_t n = 0; n < count; n++) {
    if (all[n].key_length == name.length && memcmp(all[n].key, name.ptr, name.length) == 0) return true;
  }
  return false;
}

void version_on_answer(void *envoy, const way *by) {
  if (by->version.ptr != NULL && !has_said_version(envoy)) {
    add_answer_header(envoy, VERSION, by->version);
    if (by->degraded.ptr != NULL) add_answer_header(envoy, DEGRADED, by->degraded);
  }
  if (by->variant.ptr != NULL) add_answer_header(envoy, TEXT("x-penstock-variant"), by->variant);
  if (by->experiment.ptr != NULL) add_answer_header(envoy, TEXT("x-penstock-experiment"), by->experiment);
}

// Whether the attempt may go on. Without its version a message would reach the server with that of the first.
static bool prepare(void *envoy, int last) {
  target asked;
  view chain = header_of(envoy, CHAIN, NULL);
  if (target_of(chain, attempt_of(envoy), &asked) && write_target(envoy, last, &asked)) return true;
  fail(envoy, FAULT);
  return false;
}

int attempt_on_headers(void *envoy, bool *again, bool end) {
  // one whose number cannot be told is none that has its version
  *again = attempt_of(envoy) != 1 && header_of(envoy, CHAIN, NULL).ptr != NULL;
  if (!*again) return CONTINUE_HEADERS;
  return end && prepare(envoy, BUFFERED_BODY) ? CONTINUE_HEADERS : STOP_HEADERS;
}

int attempt_on_body(void *envoy, bool end) {
  if (!end) return STOP_AND_BUFFER;
  return prepare(envoy, RECEIVED_BODY) ? CONTINUE_BODY : STOP_AND_DROP;
}

int attempt_on_trailers(void *envoy) { return prepare(envoy, BUFFERED_BODY) ? CONTINUE_HEADERS : STOP_HEADERS; }

void attempt_on_answer(void *envoy) {
  target asked;
  if (fell_back(header_of(envoy, CHAIN, NULL), attempt_of(envoy), &asked)) {
    set_answer_header(envoy, VERSION, asked.version);
    set_answer_header(envoy, DEGRADED, TEXT("fallback-model"));
  }
}
