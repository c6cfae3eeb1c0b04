// Pages of other origins: whether they may call, as their browsers ask and are told (CORS, in the Fetch standard).

#pragma once

#include "abi.h"

enum { PAGE_HEADERS = 3 };

// What the answer to a page of `origin` says; none where that is NULL. How many there are.
size_t page_headers(view origin, header said[PAGE_HEADERS]);
// The same on an answer of others.
void tell_page(void *envoy, view origin);

// Whether a page of `origin` was served by this ingress, as which `host` names it. Only by a name that is nobody's to give:
// localhost, or an address. Whoever owns another name can let it lead here.
bool is_own_page(view origin, view host);

// Answers what a browser asks before a call: whether a page of `origin`, NULL for one that may not call, may send the
// headers `asked`. A call of that kind carries no key, and leads nowhere.
void answer_preflight(void *envoy, view origin, view asked);
