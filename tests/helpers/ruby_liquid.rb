# Renders templates for tests: reads {"template", "data"} and writes {"text"} or {"error"}, one JSON a line. The first
# line that it writes is the list of the filters.
require 'json'
require 'liquid'

$stdout.sync = true
puts JSON.generate(Liquid::StandardFilters.public_instance_methods(false))
$stdin.each_line do |line|
  asked = JSON.parse(line)
  answer =
    begin
      template = Liquid::Template.parse(asked['template'], error_mode: :strict)
      JSON.generate({ text: template.render!(asked['data']).dup.force_encoding('UTF-8') })
    rescue StandardError => e
      JSON.generate({ error: "#{e.class}: #{e.message}".scrub })
    end
  puts answer
end
