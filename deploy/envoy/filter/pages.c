#include "pages.h"

#include <string.h>

#include "call.h"

#define EXPOSED                                                                                                  \
  "grpc-status,grpc-message,grpc-status-details-bin,x-request-id,x-penstock-model-version,x-penstock-variant,"   \
  "x-penstock-experiment,x-penstock-degraded,x-ratelimit-limit,x-ratelimit-remaining,x-ratelimit-reset"

static header made(view name, view value) { return (header){name.ptr, name.length, value.ptr, value.length}; }

size_t page_headers(view origin, header said[PAGE_HEADERS]) {
  if (origin.ptr == NULL) return 0;
  said[0] = made(TEXT("access-control-allow-origin"), origin);
  said[1] = made(TEXT("access-control-expose-headers"), TEXT(EXPOSED));
  said[2] = made(TEXT("vary"), TEXT("origin"));
  return PAGE_HEADERS;
}

void tell_page(void *envoy, view origin) {
  header said[PAGE_HEADERS];
  size_t count = page_headers(origin, said);
  for (size_t n = 0; n < count; n++) {
    view name = {(char *)said[n].key, said[n].key_length}, value = {(char *)said[n].value, said[n].value_length};
    set_answer_header(envoy, name, value);
  }
}

static bool begins(view text, view prefix) {
  return text.length >= prefix.length && memcmp(text.ptr, prefix.ptr, prefix.length) == 0;
}

static bool is_address(view host) {
  if (begins(host, TEXT("["))) return true;
  for (size_t n = 0; n < host.length; n++) {
    if (host.ptr[n] != '.' && host.ptr[n] != ':' && (host.ptr[n] < '0' || host.ptr[n] > '9')) return false;
  }
  return host.length > 0;
}

bool is_own_page(view origin, view host) {
  view plain = TEXT("http://"), secure = TEXT("https://"), local = TEXT("localhost");
  size_t scheme = begins(origin, plain) ? plain.length : begins(origin, secure) ? secure.length : 0;
  if (scheme == 0 || origin.length - scheme != host.length) return false;
  if (memcmp(origin.ptr + scheme, host.ptr, host.length) != 0) return false;
  return is_address(host) || (begins(host, local) && (host.length == local.length || host.ptr[local.length] == ':'));
}

void answer_preflight(void *envoy, view origin, view asked) {
  if (origin.ptr == NULL) {
    view text = TEXT("pages of this origin may not call: it is not among PENSTOCK_ALLOWED_ORIGINS");
    refuse_plainly(envoy, 403, text, TEXT("ORIGIN_NOT_ALLOWED"), NULL, 0);
    return;
  }
  header said[] = {
      made(TEXT(":status"), TEXT("204")),
      made(TEXT("access-control-allow-origin"), origin),
      made(TEXT("access-control-allow-methods"), TEXT("GET, POST")),
      made(TEXT("access-control-max-age"), TEXT("600")),
      made(TEXT("vary"), TEXT("origin")),
      made(TEXT("access-control-allow-headers"), asked),
  };
  size_t count = sizeof said / sizeof *said - (asked.ptr == NULL ? 1 : 0);
  envoy_dynamic_module_callback_http_send_response_headers(envoy, said, count, true);
}
