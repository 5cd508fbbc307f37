include(Catch)

# rochdale_library(NAME SOURCES a.cc ... DEPS other ...): the static library rochdale_NAME.
# DEPS may name our own libraries without the prefix, or any CMake target.
function(rochdale_resolve_deps out)
  set(resolved)
  foreach(dep ${ARGN})
    if(TARGET rochdale_${dep})
      list(APPEND resolved rochdale_${dep})
    else()
      list(APPEND resolved ${dep})
    endif()
  endforeach()
  set(${out} ${resolved} PARENT_SCOPE)
endfunction()

function(rochdale_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(rochdale_${name} STATIC ${ARG_SOURCES})
  rochdale_resolve_deps(deps ${ARG_DEPS})
  target_link_libraries(rochdale_${name} PUBLIC rochdale_options ${deps})
endfunction()

# rochdale_program(NAME SOURCES main.cc ... DEPS ...): the executable rochdale-NAME in build/.../bin.
function(rochdale_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(rochdale-${name} ${ARG_SOURCES})
  rochdale_resolve_deps(deps ${ARG_DEPS})
  target_link_libraries(rochdale-${name} PRIVATE rochdale_options ${deps})
  set_target_properties(rochdale-${name} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# rochdale_test(NAME LABEL unit|integration|... SOURCES ... DEPS ...): a Catch2 binary in
# build/.../tests, every TEST_CASE one ctest test.
function(rochdale_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  rochdale_resolve_deps(deps ${ARG_DEPS})
  target_link_libraries(${name} PRIVATE rochdale_options rochdale_test_main ${deps})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 900)
endfunction()
