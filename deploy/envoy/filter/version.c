#include "version.h"

#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "chain.h"

#define CHAIN TEXT("x-penstock-chain")

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

static bool write_version(void *envoy, int last) {
  target asked;
  view chain = header_of(envoy, CHAIN, NULL);
  if (!target_of(chain, attempt_of(envoy), &asked)) return false;
  body all;
  bool written = open_body(envoy, last, &all) && lengthen_frame(all.slices, all.count, asked.size) &&
                 envoy_dynamic_module_callback_http_append_body(envoy, last, (view){asked.fields, asked.size});
  close_body(&all);
  return written;
}

// Whether the attempt may go on. Without its version a message would reach whatever Triton serves by default.
static bool prepare(void *envoy, int last) {
  if (write_version(envoy, last)) return true;
  envoy_dynamic_module_callback_log(LOG_ERROR, TEXT("penstock: the version could not be written into the message"));
  fail(envoy, "the version could not be written into the message");
  return false;
}

int version_on_headers(void *envoy, bool *chained, bool end) {
  *chained = header_of(envoy, CHAIN, NULL).ptr != NULL;
  if (!*chained) return CONTINUE_HEADERS;
  return end && prepare(envoy, BUFFERED_BODY) ? CONTINUE_HEADERS : STOP_HEADERS;
}

int version_on_body(void *envoy, bool end) {
  if (!end) return STOP_AND_BUFFER;
  return prepare(envoy, RECEIVED_BODY) ? CONTINUE_BODY : STOP_AND_DROP;
}

int version_on_trailers(void *envoy) { return prepare(envoy, BUFFERED_BODY) ? CONTINUE_HEADERS : STOP_HEADERS; }

void version_on_answer(void *envoy) {
  target asked;
  unsigned long number = attempt_of(envoy);
  if (number > 1 && fell_back(header_of(envoy, CHAIN, NULL), number, &asked)) {
    set_answer_header(envoy, TEXT("x-penstock-model-version"), asked.version);
    set_answer_header(envoy, TEXT("x-penstock-degraded"), TEXT("fallback-model"));
  }
}
