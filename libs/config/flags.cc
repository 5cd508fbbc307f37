#include "libs/config/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace rochdale::config {
namespace {

constexpr size_t kSecretMax = 64 << 10;

std::string Variable(absl::string_view name) {
  return absl::StrCat("ROCHDALE_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}})));
}

// The problem with a text, or empty once it is stored in the field.
using Store = std::function<std::string(const std::string& text)>;

std::string ReadSecret(const std::string& path, Secret* field) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::StrCat("cannot read the file ", path);
  std::string text(kSecretMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) return absl::StrCat("cannot read the file ", path);
  if (text.size() > kSecretMax) return absl::StrCat("the file ", path, " is over 64 KiB");
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) return absl::StrCat("the file ", path, " is empty");
  *field = Secret(std::move(text));
  return "";
}

}  // namespace

struct Flags::State {
  struct Entry {
    OptionInfo info;
    CLI::Option* option;
    std::string text;  // what CLI11 found on the command line or in the environment
    Store store;
  };

  State(absl::string_view program, absl::string_view description)
      : app(std::string(description), std::string(program)) {
    app.set_help_flag("--help", "Print this help and exit");
    app.set_version_flag("--version", std::string(program) + " " ROCHDALE_VERSION);
    app.allow_extras(true);  // collected, so that they are reported with everything else
    app.get_formatter()->column_width(36);
  }

  void Add(absl::string_view name, absl::string_view help, std::string type,
           std::string default_text, Store store, bool flag = false) {
    entries.push_back({{absl::StrCat("--", name), Variable(name), std::move(type),
                        std::move(default_text), std::string(help)},
                       nullptr,
                       "",
                       std::move(store)});
    Entry& entry = entries.back();
    entry.option = app.add_option(entry.info.flag, entry.text, entry.info.help);
    entry.option->envname(entry.info.variable)->type_name(entry.info.type);
    if (flag) {
      // With a default text CLI11 would take that for a bare flag.
      entry.option->expected(0, 1)->type_name("BOOL=" + entry.info.default_text);
    } else {
      entry.option->default_str(entry.info.default_text);
    }
    // Given twice is most likely a mistake of a script: the last one wins would hide it.
    entry.option->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }

  CLI::App app;
  std::deque<Entry> entries;  // addresses stay: CLI11 holds pointers to the texts
};

Flags::Flags(absl::string_view program, absl::string_view description)
    : state_(std::make_unique<State>(program, description)) {}
Flags::~Flags() = default;

void Flags::Text(absl::string_view name, absl::string_view help, std::string* field) {
  state_->Add(name, help, "TEXT", *field, [field](const std::string& text) {
    *field = text;
    return std::string();
  });
}

void Flags::Int(absl::string_view name, absl::string_view help, int64_t min, int64_t max,
                int64_t* field) {
  const std::string type = absl::StrCat("INT in [", min, ", ", max, "]");
  state_->Add(name, help, type, absl::StrCat(*field), [=](const std::string& text) -> std::string {
    int64_t value;
    if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
      return absl::StrCat("must be a whole number from ", min, " to ", max);
    }
    *field = value;
    return "";
  });
}

void Flags::Bool(absl::string_view name, absl::string_view help, bool* field) {
  state_->Add(
      name, help, "BOOL", *field ? "true" : "false",
      [field](const std::string& text) -> std::string {
        if (text != "true" && text != "false" && !text.empty()) return "must be true or false";
        *field = text != "false";
        return "";
      },
      /*flag=*/true);
}

void Flags::Duration(absl::string_view name, absl::string_view help, absl::Duration min,
                     absl::Duration max, absl::Duration* field) {
  const std::string bounds =
      absl::StrCat(absl::FormatDuration(min), " to ", absl::FormatDuration(max));
  state_->Add(name, help, absl::StrCat("DURATION ", bounds), absl::FormatDuration(*field),
              [=](const std::string& text) -> std::string {
                absl::Duration value;
                if (!absl::ParseDuration(text, &value) || value < min || value > max) {
                  return absl::StrCat("must be a duration like 15m, from ", bounds);
                }
                *field = value;
                return "";
              });
}

void Flags::Choice(absl::string_view name, absl::string_view help,
                   std::vector<std::string> allowed, std::string* field) {
  const std::string list = absl::StrJoin(allowed, "|");
  state_->Add(name, help, list, *field,
              [field, list, allowed = std::move(allowed)](const std::string& text) -> std::string {
                if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
                  return absl::StrCat("must be one of ", list);
                }
                *field = text;
                return "";
              });
}

void Flags::List(absl::string_view name, absl::string_view help,
                 std::vector<std::string>* field) {
  state_->Add(name, help, "TEXT,...", absl::StrJoin(*field, ","), [field](const std::string& text) {
    *field = absl::StrSplit(text, ',', absl::SkipWhitespace());
    for (std::string& item : *field) absl::StripAsciiWhitespace(&item);
    return std::string();
  });
}

void Flags::SecretFile(absl::string_view name, absl::string_view help, Secret* field) {
  state_->Add(absl::StrCat(name, "-file"), help, "PATH", "",
              [field](const std::string& path) { return ReadSecret(path, field); });
}

absl::StatusOr<Outcome> Flags::Parse(int argc, const char* const* argv) {
  std::vector<std::string> problems;
  try {
    state_->app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    state_->app.exit(done);
    return Outcome::kExit;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), " (see --help)"));
  }
  for (const std::string& extra : state_->app.remaining()) {
    problems.push_back(absl::StrCat("unknown argument ", extra));
  }
  for (State::Entry& entry : state_->entries) {
    if (entry.option->count() == 0) continue;
    const std::string problem = entry.store(entry.text);
    if (!problem.empty()) {
      problems.push_back(
          absl::StrCat(entry.info.flag, " (", entry.info.variable, ") ", problem));
    }
  }
  if (problems.empty()) return Outcome::kRun;
  return absl::InvalidArgumentError(absl::StrCat(absl::StrJoin(problems, "; "), " (see --help)"));
}

std::vector<OptionInfo> Flags::Options() const {
  std::vector<OptionInfo> list;
  for (const State::Entry& entry : state_->entries) list.push_back(entry.info);
  return list;
}

std::string Flags::Help() const { return state_->app.help(); }

}  // namespace rochdale::config
