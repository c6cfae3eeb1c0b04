-- Names the model of a ModelInfer call, before its route is chosen, by what the message itself says.
--
-- Reads every top-level field, and the last model_name and model_version win, as in Triton: a filter that trusted the
-- first would let a message that names two models go round the policy of one of them. What cannot be read here goes
-- to the slow door from the ingress and is refused on the mesh. The scope is set last: an error anywhere leaves the
-- default scope in force, and that one denies.
--
-- Every call runs this: few crossings into Envoy, no closures, no copies of tensors.

collectgarbage("setpause", 1000)  -- little lives on from call to call: collecting rarely is a tenth of the filter's cost

local byte, sub, find = string.byte, string.sub, string.find
local WINDOW = 4096
local LONGEST_NAME, LONGEST_KEY = 127, 1024
local KEY = "x-penstock-routing-key"
local MODEL_NAME, MODEL_VERSION = 10, 18  -- fields 1 and 2, both of bytes

local fit = {}  -- names that were found to be fit for a model, so that each is looked at once
local fits = 0

local function is_fit(name)
  if fit[name] then return true end
  if #name > LONGEST_NAME or not find(name, "^%w[%w_.-]*$") then return false end
  if fits == 10000 then fit, fits = {}, 0 end
  fit[name], fits = true, fits + 1
  return true
end

local function respond(handle, status, message)
  handle:respond({
    [":status"] = "200",
    ["content-type"] = "application/grpc",
    ["grpc-status"] = status,
    ["grpc-message"] = message,
  })
end

-- The varint at `at` and the place after it; nil where there is none.
local function varint(window, at)
  local value, scale = 0, 1
  for _ = 1, 10 do
    local b = byte(window, at)
    if not b then return nil end
    at = at + 1
    if b < 128 then return value + b * scale, at end
    value = value + (b - 128) * scale
    scale = scale * 128
  end
  return nil
end

local function field_text(body, window, start, at, length)
  if at + length - 1 <= #window then return sub(window, at, at + length - 1) end
  if length > LONGEST_NAME then return "?" end  -- too long for any model: the text does not matter any more
  return body:getBytes(start + at - 1, length)
end

-- The last model_name and model_version in `body` of `size` bytes, nil where it has none; false when it is no
-- well-formed message. Only tags and lengths are read of the other fields. `window` holds the bytes from 0 on.
local function read_names(body, size, window)
  local start = 0  -- bytes of the body before the window
  local at = 6  -- in the window, behind the frame's five bytes
  local name, version
  while start + at <= size do
    if at > WINDOW - 20 then
      start = start + at - 1
      at = 1
      window = body:getBytes(start, size - start < WINDOW and size - start or WINDOW)
    end
    local tag, length = byte(window, at, at + 1)
    if tag < 128 then
      at = at + 1
    else
      tag, at = varint(window, at)
      -- a decoder that keeps 32 bits would see another field in a longer tag than we do
      if not tag or tag >= 4294967296 then return false end
      length = byte(window, at)
    end
    local wire = tag % 8
    if tag < 8 or not length then
      return false
    elseif wire == 2 then
      if length < 128 then
        at = at + 1
      else
        length, at = varint(window, at)
        if not length then return false end
      end
      if start + at - 1 + length > size then return false end
      if tag == MODEL_NAME then
        name = field_text(body, window, start, at, length)
      elseif tag == MODEL_VERSION then
        version = field_text(body, window, start, at, length)
      end
      at = at + length
    elseif wire == 0 then
      length, at = varint(window, at)
      if not length then return false end
    elseif wire == 1 then
      at = at + 8
    elseif wire == 5 then
      at = at + 4
    else
      return false
    end
  end
  if start + at - 1 ~= size then return false end
  return name, version
end

local function is_utf8(text)
  local at = 1
  while at <= #text do
    local first = byte(text, at)
    local more = first < 0x80 and 0 or first < 0xC2 and -1 or first < 0xE0 and 1 or first < 0xF0 and 2
      or first < 0xF5 and 3 or -1
    if more < 0 then return false end
    for n = 1, more do
      local b = byte(text, at + n)
      local low = n == 1 and (first == 0xE0 and 0xA0 or first == 0xF0 and 0x90) or 0x80
      local high = n == 1 and (first == 0xED and 0x9F or first == 0xF4 and 0x8F) or 0xBF
      if not b or b < low or b > high then return false end
    end
    at = at + more + 1
  end
  return true
end

-- What is wrong with a routing key; nil when nothing is. Several are seen as one, joined by commas.
local function key_fault(headers, key)
  if #key > LONGEST_KEY then return "has " .. #key .. " bytes; at most " .. LONGEST_KEY .. " are allowed" end
  local odd = find(key, "[%c,\128-\255]")
  if not odd then return nil end
  if headers:getNumValues(KEY) > 1 then return "is given more than once" end
  if find(key, "%c") or not is_utf8(key) then return "must be UTF-8 without control characters" end
  return nil
end

local function unreadable(handle, headers)
  if headers:get("x-penstock-door") == "mesh" then
    respond(handle, "12", "the mesh takes one uncompressed ModelInferRequest")
  else
    headers:replace("x-penstock-door", "slow")
    handle:clearRouteCache()
  end
end

function envoy_on_request(handle)
  local body = handle:body()
  local headers = handle:headers()  -- not before: a wrapper does not survive the wait for the body
  local key = headers:get(KEY)
  if key then
    local fault = key_fault(headers, key)
    if key == "" or fault then
      headers:remove(KEY)  -- else everyone with an empty key would share a bucket, and a bad one reach the record
    end
    if fault then return respond(handle, "3", "x-penstock-routing-key " .. fault) end
  end
  local size = body and body:length() or 0
  if size < 5 then return unreadable(handle, headers) end
  local window = body:getBytes(0, size < WINDOW and size or WINDOW)
  local flag, a, b, c, d = byte(window, 1, 5)
  if flag ~= 0 or ((a * 256 + b) * 256 + c) * 256 + d ~= size - 5 then return unreadable(handle, headers) end
  local name, version = read_names(body, size, window)
  if name == false then return unreadable(handle, headers) end
  if not name or name == "" then return respond(handle, "3", "model_name is missing") end
  if not is_fit(name) then return respond(handle, "5", "no model can have the name that was given") end
  if version and version ~= "" then headers:replace("x-penstock-pin", is_fit(version) and version or "?") end
  headers:replace("x-penstock-scope", name)
  handle:clearRouteCache()
end
